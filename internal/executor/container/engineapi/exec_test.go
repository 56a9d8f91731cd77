package engineapi_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// late answers as an engine whose command has ended with exit code 3, which it knows after some looks; with gone the container has
// ended first, and it never does.
type late struct {
	looks atomic.Int32
	gone  bool
}

func (l *late) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := any(map[string]any{"ApiVersion": "1.41", "Version": "4.3.1"}) // _ping, version, info
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/containers/c/exec"):
		answer = map[string]string{"Id": "e"}
	case strings.HasSuffix(path, "/exec/e/start"):
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n\x02\x00\x00\x00\x00\x00\x00\x03why")
		_ = conn.Close()
		return
	case strings.HasSuffix(path, "/exec/e/json"):
		runs := l.gone || l.looks.Add(1) < 4
		answer = map[string]any{"ID": "e", "ContainerID": "c", "Running": runs, "ExitCode": map[bool]int{true: 0, false: 3}[runs]}
	case strings.HasSuffix(path, "/containers/c/json"):
		answer = map[string]any{"Id": "c", "State": map[string]any{"Running": !l.gone}}
	}
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// TestExecWaitsForTheExitCode: Podman has the exit code of a command some time after its output, and says until then that it runs, and 0.
func TestExecWaitsForTheExitCode(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]*late{"late": {}, "never": {gone: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(l)
			t.Cleanup(s.Close)
			e, err := engineapi.Connect(t.Context(), engineapi.Address{Host: strings.Replace(s.URL, "http://", "tcp://", 1)}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = e.Close() })
			out, err := e.Exec(t.Context(), "c", "0:0", "false")
			var failed *engineapi.ExitError
			switch {
			case err == nil:
				t.Errorf("it is said to have succeeded: %q", out)
			case errors.As(err, &failed) == l.gone, failed != nil && (failed.Code != 3 || failed.Words != "why"):
				t.Errorf("the error is %v", err)
			}
		})
	}
}
