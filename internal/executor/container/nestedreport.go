package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// fileEnded says that the job's own engine was ended, and what it kept is removed or half removed.
const fileEnded = "nested-ended"

// spent reports whether that is recorded.
func (v *environment) spent() bool {
	_, err := os.Stat(filepath.Join(v.dir, fileEnded))
	return !errors.Is(err, fs.ErrNotExist)
}

// reportNested says that the job's own engine ended before the job did.
func (v *environment) reportNested(ctx context.Context, engine *engineapi.Engine, out io.Writer) {
	n := v.b.Nested
	if n == nil {
		return
	}
	s, err := engine.State(ctx, n.Name)
	if err != nil || s.Created {
		return
	}
	if s.Running {
		if why := v.nestedRefuses(ctx, engine); why != "" {
			v.log.Warn("A job's own engine was ended", "error", why)
			if err := os.WriteFile(filepath.Join(v.dir, fileEnded), nil, 0o600); err != nil {
				v.log.Warn("What is left of a job's own engine that was ended may be offered to later jobs", "error", err)
			}
			fmt.Fprintf(out, "%sWARNING: %s%s\n", yellow, why, plain)
		}
		return
	}
	why := fmt.Sprintf("ended with exit code %d", s.ExitCode)
	if s.OOMKilled {
		why = "ran out of memory and was killed" + limitWords(s.Memory)
	}
	fmt.Fprintf(out, "%sWARNING: The job's own container engine %s before the job did.%s\n", yellow, why, plain)
}

// refusalBytes is how much of what is said at the engine's socket, which the job may have put there, comes into its log.
const refusalBytes = 1 << 10

// refusalTime is how long it may take to hear it.
const refusalTime = 5 * time.Second

// nestedRefuses is why the job's own engine was ended while its container runs; "" when it was not.
func (v *environment) nestedRefuses(ctx context.Context, engine *engineapi.Engine) (why string) {
	ctx, cancel := context.WithTimeout(ctx, refusalTime)
	defer cancel()
	if v.b.Agent != nil && v.remote() {
		said, _ := engine.Logs(ctx, v.b.Nested.Name, lastServiceLines, lastServiceBytes)
		if i := strings.LastIndex(said, nested.Ended); i >= 0 {
			why, _, _ = strings.Cut(said[i:], "\n")
		}
	} else if h, err := v.pingNested(ctx); err == nil {
		why = h.Get(nested.HeaderEnded)
	}
	if !strings.HasPrefix(why, nested.Ended) {
		return ""
	}
	return strings.Map(printable, strings.ToValidUTF8(why[:min(len(why), refusalBytes)], ""))
}

// printable drops what does not show in a log, or does something to it.
func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return -1
	}
	return r
}
