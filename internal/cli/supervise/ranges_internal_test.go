package supervise

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRanges shares out what a container of a user with the usual ids has, and says that three more would be better.
func TestRanges(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for p, text := range map[string]string{
		"proc/self/uid_map": "0 1000 1\n1 100000 65536\n", "proc/self/gid_map": "0 1000 1\n1 100000 65539\n", "etc/subuid": "podman:1:999\npodman:1002:64536\n", "etc/subgid": "other\n",
	} {
		p = filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if err := (options{engineUser: "podman", runnerUser: "somebody"}).ranges(logger, root); err != nil || log.Len() > 0 {
		t.Errorf("with users of another image: %v, %s", err, &log)
	}
	if err := (options{engineUser: "podman", runnerUser: "runner"}).ranges(logger, root); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{"etc/subuid": "podman:1:999\npodman:1002:64535\n", "etc/subgid": "podman:1:999\npodman:1002:64536\n"} {
		if got, err := os.ReadFile(filepath.Join(root, p)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", p, got, err, want)
		}
	}
	if n := strings.Count(log.String(), "65539"); n != 1 {
		t.Errorf("%d warnings, want one:\n%s", n, &log)
	}
}
