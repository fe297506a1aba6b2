package podidentitytestkit

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// ask does what an SDK does first, and no more.
func ask(t *testing.T) int {
	t.Helper()
	token, err := os.ReadFile(os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodGet, os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI"), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", string(token))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func TestAMockServesFailsAndTells(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "of the caller")
	agent := StartAgent(t, "--namespace", "shop")
	if _, set := os.LookupEnv("AWS_ACCESS_KEY_ID"); set {
		t.Error("a variable that comes before the mock in an SDK's chain is still set")
	}
	agent.Fault(t, map[string]any{"status": 503})
	if got := []int{ask(t), ask(t)}; !slices.Equal(got, []int{503, 200}) {
		t.Errorf("statuses %v", got)
	}
	if requests := agent.Requests(t); requests[0]["pod"].(map[string]any)["namespace"] != "shop" {
		t.Errorf("requests %v", requests)
	}
	agent.Advance(t, 25*time.Hour)
	if got := ask(t); got != 400 {
		t.Errorf("status %d of an expired token", got)
	}
	agent.Rotate(t)
	if got := ask(t); got != 200 {
		t.Errorf("status %d of a new token", got)
	}
	agent.Reset(t)
	if requests := agent.Requests(t); len(requests) != 0 {
		t.Errorf("requests %v after a reset", requests)
	}
	if err := agent.send(http.MethodPost, "/faults", map[string]any{"status": 1}, nil); err == nil ||
		!strings.Contains(err.Error(), "expected 200 to 599") {
		t.Errorf("error %v", err)
	}
}

func TestAMockWithoutTokenIsOneToo(t *testing.T) {
	webhook := Start(t, "webhook", "--plain", "--identity", "shop/cart")
	if webhook.TokenFile != "" || !strings.HasSuffix(webhook.Endpoint, "/mutate") {
		t.Errorf("%+v", webhook)
	}
	if requests := webhook.Requests(t); len(requests) != 0 {
		t.Errorf("requests %v", requests)
	}
}

func TestWhatAMockExpectsIsVerified(t *testing.T) {
	agent := Start(t, "agent")
	agent.Fault(t, map[string]any{"status": 503, "optional": true})
	agent.Expect(t, map[string]any{"times": 0})
	agent.Verify(t)
}

func TestAMockEndsWithItsTest(t *testing.T) {
	var endpoint string
	t.Run("inner", func(t *testing.T) { endpoint = Start(t, "agent").Endpoint })
	if response, err := http.Get(endpoint); err == nil {
		response.Body.Close()
		t.Error("it is still there")
	}
}
