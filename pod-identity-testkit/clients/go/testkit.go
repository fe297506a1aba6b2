// Package podidentitytestkit runs mocks of Amazon EKS Pod Identity for tests in Go. Each is a process of the
// program pod-identity-testkit.
//
//	func TestAnOutageGoesUnnoticed(t *testing.T) {
//		agent := podidentitytestkit.StartAgent(t)
//		agent.Fault(t, map[string]any{"status": 503, "count": 2})
//		// … an SDK finds the mock in the environment …
//	}
//
// The program is that of the environment variable POD_IDENTITY_TESTKIT, else the one in PATH.
package podidentitytestkit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Mock is a mock in a process of its own, which ends with the test, and when the process of the test does.
type Mock struct {
	// Endpoint is the mock's URL.
	Endpoint string `json:"endpoint"`
	// TokenFile is the path of the pod's token; empty for a mock without one.
	TokenFile string `json:"token_file"`
	// Env are the variables that lead an SDK to the mock.
	Env map[string]string `json:"env"`
	// Unset are the variables that an SDK would use instead of the mock.
	Unset []string `json:"unset"`
	// Cluster and Region are those of the AWS side.
	Cluster string `json:"cluster"`
	Region  string `json:"region"`

	Admin struct {
		URI   string `json:"uri"`
		Token string `json:"token"`
	} `json:"admin"`
}

// readyTimeout is how long a mock may take to start.
const readyTimeout = 30 * time.Second

// StartAgent starts a mock of the node agent, and gives the process of the test the environment of a pod that
// uses it. Like t.Setenv, it cannot be used in parallel tests: they take Start and Environ.
func StartAgent(t testing.TB, arguments ...string) *Mock {
	t.Helper()
	mock := Start(t, "agent", arguments...)
	for _, name := range mock.Unset {
		// Setenv restores the variable after the test.
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range mock.Env {
		t.Setenv(name, value)
	}
	return mock
}

// Start starts a mock: "agent", "eks" or "webhook", which is verified at the end of the test. It fails the test if the mock does not become ready.
func Start(t testing.TB, kind string, arguments ...string) *Mock {
	t.Helper()
	program := os.Getenv("POD_IDENTITY_TESTKIT")
	if program == "" {
		program = "pod-identity-testkit"
	}
	command := exec.Command(program, append([]string{kind}, arguments...)...)
	command.Stderr = os.Stderr
	// The program ends at the end of its standard input, which the kernel closes when this process ends.
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("cannot start %s: %v; cargo install pod-identity-testkit --features program,webhook, "+
			"or set POD_IDENTITY_TESTKIT to its path", program, err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		// The error says only how the program ended.
		_ = command.Wait()
	})
	timer := time.AfterFunc(readyTimeout, func() { _ = command.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if !timer.Stop() {
		t.Fatalf("%s %s was not ready within %v", program, kind, readyTimeout)
	}
	if err != nil {
		t.Fatalf("%s %s ended before it was ready: see what it wrote to standard error", program, kind)
	}
	mock := new(Mock)
	if err := json.Unmarshal(line, mock); err != nil {
		t.Fatalf("%s %s: %v in its ready line", program, kind, err)
	}
	// Runs before the cleanup that ends the program.
	t.Cleanup(func() {
		if !t.Failed() {
			mock.Verify(t)
		}
	})
	return mock
}

// Environ returns a whole environment for a child process: that of this process, with the mock in it, and
// without what an SDK would use instead of the mock.
func (m *Mock) Environ() []string {
	environ := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains(m.Unset, name)
	})
	for name, value := range m.Env {
		environ = append(environ, name+"="+value)
	}
	return environ
}

// Fault injects a fault, such as {"status": 503, "count": 2}.
func (m *Mock) Fault(t testing.TB, fault map[string]any) {
	t.Helper()
	m.call(t, http.MethodPost, "/faults", fault, nil)
}

// ClearFaults removes every fault, also those that have not begun.
func (m *Mock) ClearFaults(t testing.TB) {
	t.Helper()
	m.call(t, http.MethodDelete, "/faults", nil, nil)
}

// Expect adds what is to be true of all requests, such as {"times": 2}. Verify checks it, also at the test's end.
func (m *Mock) Expect(t testing.TB, expectations map[string]any) {
	t.Helper()
	m.call(t, http.MethodPost, "/expectations", expectations, nil)
}

// Verify fails the test if an expectation is not met, or a fault met no request and is not "optional".
func (m *Mock) Verify(t testing.TB) {
	t.Helper()
	var answer struct {
		Failures []string `json:"failures"`
	}
	m.call(t, http.MethodPost, "/verify", nil, &answer)
	for _, failure := range answer.Failures {
		t.Error(failure)
	}
}

// Release opens the gate that faults name in "until".
func (m *Mock) Release(t testing.TB, gate string) {
	t.Helper()
	m.call(t, http.MethodPost, "/gates/"+url.PathEscape(gate), nil, nil)
}

// Requests returns the requests since the start or the last reset, without secrets.
func (m *Mock) Requests(t testing.TB) []map[string]any {
	t.Helper()
	var answer struct {
		Requests []map[string]any `json:"requests"`
	}
	m.call(t, http.MethodGet, "/requests", nil, &answer)
	return answer.Requests
}

// Rotate replaces the token in the token file, as kubelet does.
func (m *Mock) Rotate(t testing.TB) {
	t.Helper()
	m.call(t, http.MethodPost, "/rotate", nil, nil)
}

// Advance moves the mock's clock, and applies what the scenario has until then.
func (m *Mock) Advance(t testing.TB, by time.Duration) {
	t.Helper()
	m.call(t, http.MethodPost, "/clock", map[string]any{"advance_seconds": int64(by / time.Second)}, nil)
}

// Reset removes faults, expectations and requests, returns to the system's time, renews the token, restarts the scenario.
func (m *Mock) Reset(t testing.TB) {
	t.Helper()
	m.call(t, http.MethodPost, "/reset", nil, nil)
}

func (m *Mock) call(t testing.TB, method, path string, body, answer any) {
	t.Helper()
	if err := m.send(method, path, body, answer); err != nil {
		t.Fatal(err)
	}
}

func (m *Mock) send(method, path string, body, answer any) error {
	if m.Admin.URI == "" {
		return fmt.Errorf("a mock at %s has no admin endpoint", m.Endpoint)
	}
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, m.Admin.URI+path, sent)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+m.Admin.Token)
	// Not through a proxy, whatever the environment says.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: readyTimeout}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var refused struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(text, &refused)
		return fmt.Errorf("%s %s: %s", method, path, refused.Error)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
