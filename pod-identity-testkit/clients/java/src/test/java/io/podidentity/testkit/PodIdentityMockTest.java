package io.podidentity.testkit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class PodIdentityMockTest {
  @RegisterExtension
  static final PodIdentityMock agent = PodIdentityMock.agent("--namespace", "shop");

  @BeforeEach
  void reset() {
    agent.reset();
  }

  /** What an SDK does first, and no more. */
  private static int ask() throws IOException, InterruptedException {
    HttpRequest request =
        HttpRequest.newBuilder(URI.create(System.getProperty("aws.containerCredentialsFullUri")))
            .header("Authorization", Files.readString(Path.of(agent.tokenFile())))
            .build();
    return HttpClient.newHttpClient()
        .send(request, HttpResponse.BodyHandlers.discarding())
        .statusCode();
  }

  @Test
  void aMockServesFailsAndTells() throws Exception {
    agent.fault("{\"status\": 503}");
    assertEquals(503, ask());
    assertEquals(200, ask());
    Map<?, ?> pod = (Map<?, ?>) agent.requests().get(0).get("pod");
    assertEquals("shop", pod.get("namespace"));
    assertEquals(2, agent.requests().size());
  }

  @Test
  void theTokenIsRotatedAndTheClockMoved() throws Exception {
    agent.advance(Duration.ofHours(25));
    assertEquals(400, ask());
    agent.rotate();
    assertEquals(200, ask());
  }

  @Test
  void aWrongFaultIsRefusedWithItsReason() {
    IllegalArgumentException error =
        assertThrows(IllegalArgumentException.class, () -> agent.fault("{\"status\": 1}"));
    assertTrue(error.getMessage().contains("expected 200 to 599"), error.getMessage());
  }

  @Test
  void aChildHasTheEnvironmentOfAPod() {
    ProcessBuilder child = new ProcessBuilder("true");
    child.environment().put("AWS_ACCESS_KEY_ID", "of the caller");
    agent.applyTo(child);
    assertFalse(child.environment().containsKey("AWS_ACCESS_KEY_ID"));
    assertEquals(agent.endpoint(), child.environment().get("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
  }

  @Test
  void aMockThatCannotStartLeavesNoProcess() {
    PodIdentityMock wrong = PodIdentityMock.agent("--nonsense");
    IOException error = assertThrows(IOException.class, wrong::start);
    assertTrue(error.getMessage().contains("before it was ready"), error.getMessage());
  }
}
