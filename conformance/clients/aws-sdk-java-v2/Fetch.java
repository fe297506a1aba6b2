import software.amazon.awssdk.auth.credentials.ContainerCredentialsProvider;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;

/** Prints the access key that the default chain of the AWS SDK for Java finds. */
class Fetch {
    public static void main(String[] arguments) {
        try (var chain = DefaultCredentialsProvider.builder().build()) {
            System.out.println(chain.resolveCredentials().accessKeyId());
        } catch (RuntimeException error) {
            System.err.println(error.getMessage());
            explain();
            System.exit(1);
        }
    }

    /** The chain keeps the cause to itself; the provider for containers says what it got. */
    private static void explain() {
        try (var provider = ContainerCredentialsProvider.builder().build()) {
            provider.resolveCredentials();
        } catch (RuntimeException error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                System.err.println(cause.getMessage());
            }
        }
    }
}
