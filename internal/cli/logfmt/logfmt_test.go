package logfmt_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/cli/logfmt"
)

func log(t *testing.T, format, level string, color bool) string {
	t.Helper()
	var b bytes.Buffer
	o := logfmt.New(&b, color)
	logger := o.Logger().With("runner", "AbCdEfGhI")
	if err := errors.Join(o.SetFormat(format), o.SetLevel(level)); err != nil {
		t.Fatal(err)
	}
	logger.Debug("looking")
	logger.Info("listing", "ConfigFile", "/etc/x y")
	logger.WithGroup("job").Warn("odd", "id", 3, slog.Group("sub", "k", "a\nb"))
	logger.Error("broken\n", "error", errors.New("why"))
	return regexp.MustCompile(`time="?[^ "]+"?`).ReplaceAllString(b.String(), "time=T")
}

func TestFormats(t *testing.T) {
	t.Parallel()
	pad := func(s string) string { return s + strings.Repeat(" ", 50-len(s)) }
	for _, c := range []struct {
		format, level string
		color         bool
		want          string
	}{
		{"runner", "info", false, pad("listing") + ` runner=AbCdEfGhI ConfigFile="/etc/x y"` + "\n" +
			"WARNING: " + pad("odd") + ` runner=AbCdEfGhI job.id=3 job.sub.k="a\nb"` + "\n" +
			"ERROR: " + pad("broken") + " runner=AbCdEfGhI error=why\n"},
		{"runner", "error", true, "\x1b[31;1mERROR: " + pad("broken") + "\x1b[0;m runner=AbCdEfGhI error=why\n"},
		{"text", "warn", false, `time=T level=warning msg=odd runner=AbCdEfGhI job.id=3 job.sub.k="a\nb"` + "\n" +
			`time=T level=error msg="broken\n" runner=AbCdEfGhI error=why` + "\n"},
	} {
		if diff := cmp.Diff(c.want, log(t, c.format, c.level, c.color)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.format, diff)
		}
	}
}

func TestJSONIsLogrus(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSpace(log(t, "json", "debug", false)), "\n")
	if len(lines) != 4 {
		t.Fatalf("%d lines", len(lines))
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
		t.Fatal(err)
	}
	if got["time"] == "" {
		t.Error("no time")
	}
	delete(got, "time")
	if diff := cmp.Diff(map[string]any{"level": "info", "msg": "listing", "runner": "AbCdEfGhI", "ConfigFile": "/etc/x y"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownNames(t *testing.T) {
	t.Parallel()
	o := logfmt.New(&bytes.Buffer{}, false)
	if o.SetFormat("xml") == nil || o.SetLevel("loud") == nil {
		t.Error("nonsense was taken")
	}
}
