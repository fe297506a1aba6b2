import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.LinkedHashMap;
import software.amazon.awssdk.auth.credentials.AwsCredentials;
import software.amazon.awssdk.auth.credentials.AwsSessionCredentials;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;

/** Asks one default chain of the AWS SDK for Java for credentials, once for every line of standard input. */
class Ask {
    public static void main(String[] arguments) throws IOException {
        var lines = new BufferedReader(new InputStreamReader(System.in));
        try (var chain = DefaultCredentialsProvider.builder().build()) {
            while (lines.readLine() != null) {
                System.out.println(asked(chain));
            }
        }
    }

    private static String asked(DefaultCredentialsProvider chain) {
        try {
            return told(chain.resolveCredentials());
        } catch (RuntimeException error) {
            System.err.println(error.getMessage());
            return "failed " + error.getClass().getSimpleName();
        }
    }

    private static String told(AwsCredentials credentials) {
        var parts = new LinkedHashMap<String, String>();
        parts.put("AccessKeyId", credentials.accessKeyId());
        parts.put("SecretAccessKey", credentials.secretAccessKey());
        var session = credentials instanceof AwsSessionCredentials held ? held.sessionToken() : null;
        parts.put("Token", session);
        for (var part : parts.entrySet()) {
            if (part.getValue() == null || part.getValue().isEmpty()) {
                return "without " + part.getKey();
            }
        }
        var expiry = credentials.expirationTime().map(time -> String.valueOf(time.getEpochSecond()));
        return "key " + credentials.accessKeyId() + " " + expiry.orElse("never");
    }
}
