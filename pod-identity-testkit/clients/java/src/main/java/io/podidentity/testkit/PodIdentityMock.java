package io.podidentity.testkit;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.ProxySelector;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * A mock of Amazon EKS Pod Identity for the tests of a class, in a process of the program {@code
 * pod-identity-testkit}.
 *
 * <pre>{@code
 * @RegisterExtension
 * static final PodIdentityMock agent = PodIdentityMock.agent();
 *
 * @Test
 * void anOutageGoesUnnoticed() {
 *   agent.fault("{\"status\": 503, \"count\": 2}");
 *   // … the AWS SDK for Java 2 finds the mock by its system properties …
 * }
 * }</pre>
 *
 * The process ends after the class, and when the virtual machine does. The program is that of the environment
 * variable POD_IDENTITY_TESTKIT, else the one in PATH. Copy this file; it needs Java 17 and JUnit 5.
 */
public final class PodIdentityMock implements BeforeAllCallback, AfterAllCallback {
  private static final Duration READY_TIMEOUT = Duration.ofSeconds(30);

  /** What the AWS SDK for Java 2 reads before the environment, which a Java program cannot change. */
  private static final Map<String, String> PROPERTIES =
      Map.of(
          "AWS_CONTAINER_CREDENTIALS_FULL_URI", "aws.containerCredentialsFullUri",
          "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "aws.containerAuthorizationTokenFile",
          "AWS_REGION", "aws.region",
          "AWS_CONFIG_FILE", "aws.configFile",
          "AWS_SHARED_CREDENTIALS_FILE", "aws.sharedCredentialsFile",
          "AWS_ACCESS_KEY_ID", "aws.accessKeyId",
          "AWS_SECRET_ACCESS_KEY", "aws.secretAccessKey");

  private final List<String> command = new ArrayList<>();
  private final Map<String, String> replaced = new HashMap<>();
  private Process process;
  private Map<String, Object> ready = Map.of();

  private PodIdentityMock(String kind, String... arguments) {
    String program = System.getenv("POD_IDENTITY_TESTKIT");
    command.add(program == null || program.isEmpty() ? "pod-identity-testkit" : program);
    command.add(kind);
    command.addAll(List.of(arguments));
  }

  /** A mock of a pod's node agent. */
  public static PodIdentityMock agent(String... arguments) {
    return new PodIdentityMock("agent", arguments);
  }

  /** A mock of the AWS side: EKS Auth, associations, get-caller-identity. */
  public static PodIdentityMock eks(String... arguments) {
    return new PodIdentityMock("eks", arguments);
  }

  @Override
  public void beforeAll(ExtensionContext context) throws Exception {
    start();
    env().forEach(
        (name, value) -> {
          String property = PROPERTIES.get(name);
          if (property != null) {
            replaced.put(property, System.setProperty(property, value));
          }
        });
  }

  @Override
  public void afterAll(ExtensionContext context) {
    replaced.forEach(
        (property, before) -> {
          if (before == null) {
            System.clearProperty(property);
          } else {
            System.setProperty(property, before);
          }
        });
    replaced.clear();
    try {
      if (context.getExecutionException().isEmpty()) {
        verify();
      }
    } finally {
      stop();
    }
  }

  /** Starts the process, for a test without JUnit. */
  public void start() throws IOException, InterruptedException {
    // The program ends at the end of its standard input, which the kernel closes when this process ends.
    process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    try {
      ready = Json.object(readyLine());
    } catch (IOException | InterruptedException | RuntimeException error) {
      stop();
      throw error;
    }
  }

  /** Ends the process, and returns when it has ended. */
  public void stop() {
    if (process != null) {
      process.destroy();
      process.onExit().join();
      process = null;
    }
  }

  private String readyLine() throws IOException, InterruptedException {
    BufferedReader output =
        new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    CompletableFuture<String> line =
        CompletableFuture.supplyAsync(
            () -> {
              try {
                return output.readLine();
              } catch (IOException error) {
                throw new UncheckedIOException(error);
              }
            });
    String name = String.join(" ", command);
    try {
      String read = line.get(READY_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
      if (read == null) {
        throw new IOException(name + " ended before it was ready: see what it wrote to standard error");
      }
      return read;
    } catch (TimeoutException error) {
      throw new IOException(name + " was not ready within " + READY_TIMEOUT, error);
    } catch (ExecutionException error) {
      throw new IOException(name + ": " + error.getCause().getMessage(), error);
    }
  }

  /** The mock's URL. */
  public String endpoint() {
    return (String) ready.get("endpoint");
  }

  /** The path of the pod's token; null for a mock without one. */
  public String tokenFile() {
    return (String) ready.get("token_file");
  }

  /** The variables that lead an SDK to the mock. */
  @SuppressWarnings("unchecked")
  public Map<String, String> env() {
    return (Map<String, String>) ready.getOrDefault("env", Map.of());
  }

  /** Gives a child process the environment of a pod that uses the mock. */
  @SuppressWarnings("unchecked")
  public void applyTo(ProcessBuilder child) {
    child.environment().keySet().removeAll((List<String>) ready.getOrDefault("unset", List.of()));
    child.environment().putAll(env());
  }

  /** Injects a fault, such as <code>{"status": 503, "count": 2}</code>. */
  public void fault(String json) {
    call("POST", "/faults", json);
  }

  /** Removes every fault, also those that have not begun. */
  public void clearFaults() {
    call("DELETE", "/faults", "");
  }

  /** Adds what is to be true of all requests, such as <code>{"times": 2}</code>; {@link #verify} checks it. */
  public void expect(String json) {
    call("POST", "/expectations", json);
  }

  /** Throws if an expectation is not met, or a fault met no request and is not {@code optional}. */
  @SuppressWarnings("unchecked")
  public void verify() {
    List<Object> failures = (List<Object>) Json.object(call("POST", "/verify", "")).get("failures");
    if (!failures.isEmpty()) {
      throw new AssertionError(failures.toString());
    }
  }

  /** Opens the gate that faults name in {@code until}. */
  public void release(String gate) {
    call("POST", "/gates/" + URLEncoder.encode(gate, StandardCharsets.UTF_8).replace("+", "%20"), "");
  }

  /** Returns the requests since the start or the last reset, without secrets. */
  @SuppressWarnings("unchecked")
  public List<Map<String, Object>> requests() {
    return (List<Map<String, Object>>) Json.object(call("GET", "/requests", "")).get("requests");
  }

  /** Replaces the token in the token file, as kubelet does. */
  public void rotate() {
    call("POST", "/rotate", "");
  }

  /** Moves the mock's clock, and applies what the scenario has until then. */
  public void advance(Duration by) {
    call("POST", "/clock", "{\"advance_seconds\": " + by.toSeconds() + "}");
  }

  /** Removes faults, expectations and requests, returns to the system's time, renews the token, restarts the scenario. */
  public void reset() {
    call("POST", "/reset", "");
  }

  @SuppressWarnings("unchecked")
  private String call(String method, String path, String body) {
    Map<String, String> admin = (Map<String, String>) ready.get("admin");
    if (admin == null) {
      throw new IllegalStateException("a mock at " + endpoint() + " has no admin endpoint");
    }
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(admin.get("uri") + path))
            .header("Authorization", "Bearer " + admin.get("token"))
            .timeout(READY_TIMEOUT)
            .method(method, HttpRequest.BodyPublishers.ofString(body))
            .build();
    // Not through a proxy, whatever the environment says.
    HttpClient client = HttpClient.newBuilder().proxy(ProxySelector.of(null)).build();
    try {
      HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
      if (answer.statusCode() != 200) {
        throw new IllegalArgumentException((String) Json.object(answer.body()).get("error"));
      }
      return answer.body();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    } catch (InterruptedException error) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(error);
    }
  }

  /** Reads the JSON that the program writes, so that this file needs no library. */
  private static final class Json {
    private final String text;
    private int at;

    private Json(String text) {
      this.text = text;
    }

    @SuppressWarnings("unchecked")
    static Map<String, Object> object(String text) {
      return (Map<String, Object>) new Json(text).value();
    }

    private Object value() {
      char first = peek();
      switch (first) {
        case '{':
          Map<String, Object> members = new LinkedHashMap<>();
          for (at++; peek() != '}'; skip(',')) {
            String name = string();
            skip(':');
            members.put(name, value());
          }
          at++;
          return members;
        case '[':
          List<Object> elements = new ArrayList<>();
          for (at++; peek() != ']'; skip(',')) {
            elements.add(value());
          }
          at++;
          return elements;
        case '"':
          return string();
        default:
          int start = at;
          while (at < text.length() && ",]} \n\r\t".indexOf(text.charAt(at)) < 0) {
            at++;
          }
          String word = text.substring(start, at);
          return switch (word) {
            case "null" -> null;
            case "true" -> true;
            case "false" -> false;
            default -> Double.valueOf(word);
          };
      }
    }

    private String string() {
      peek();
      StringBuilder result = new StringBuilder();
      for (at++; text.charAt(at) != '"'; at++) {
        char next = text.charAt(at);
        if (next != '\\') {
          result.append(next);
          continue;
        }
        char escaped = text.charAt(++at);
        switch (escaped) {
          case 'u' -> {
            result.append((char) Integer.parseInt(text.substring(at + 1, at + 5), 16));
            at += 4;
          }
          case 'n' -> result.append('\n');
          case 't' -> result.append('\t');
          case 'r' -> result.append('\r');
          case 'b' -> result.append('\b');
          case 'f' -> result.append('\f');
          default -> result.append(escaped);
        }
      }
      at++;
      return result.toString();
    }

    private char peek() {
      while (Character.isWhitespace(text.charAt(at))) {
        at++;
      }
      return text.charAt(at);
    }

    private void skip(char separator) {
      if (peek() == separator) {
        at++;
      }
    }
  }
}
