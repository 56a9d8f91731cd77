package container

import (
	"context"
	"errors"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent"
)

// TestPrelude reads the output of an entrypoint from engines that have it late.
func TestPrelude(t *testing.T) {
	t.Parallel()
	const own = agent.Serving
	for name, test := range map[string]struct {
		reads []string // what the engine has at each reading; the last for ever
		want  string
	}{
		"at once":          {[]string{"Welcome\n" + own + own}, "Welcome\n"},
		"late":             {[]string{"", "", "Welcome\n" + own + own}, "Welcome\n"},
		"one stream first": {[]string{own, own + "twice\n", own + "twice\n" + own}, "twice\n"},
		"no end of line":   {[]string{"Wel", "Welcome" + own + "twice\n" + own}, "Welcome\ntwice\n"},
		"nothing":          {[]string{own + own}, ""},
		"elsewhere":        {[]string{"Welcome\n", "Welcome\n"}, "Welcome\n"},
		"when it is over":  {[]string{"", "Welcome\n" + own + own}, "Welcome\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 0
			got, err := prelude(ctx, func() (string, error) {
				n++
				if n == 1 && (name == "elsewhere" || name == "when it is over") {
					cancel()
				}
				return test.reads[min(n, len(test.reads))-1], nil
			})
			if err != nil || got != test.want {
				t.Errorf("prelude is %q (%v), want %q", got, err, test.want)
			}
			if n != len(test.reads) {
				t.Errorf("%d readings, want %d", n, len(test.reads))
			}
		})
	}
	broken := errors.New("no logs of this driver")
	if _, err := prelude(t.Context(), func() (string, error) { return "", broken }); !errors.Is(err, broken) {
		t.Errorf("the error is %v, want %v", err, broken)
	}
}
