package register

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

func TestPromptEndsWithTheContext(t *testing.T) {
	t.Parallel()
	in, nobody := io.Pipe()
	t.Cleanup(func() { _ = nobody.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newPrompter(in, io.Discard).ask(ctx, "?", "", true, nil)
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if code, show := program.ExitCode(err); code != program.ExitInterrupted || !show {
		t.Errorf("exit code %d, shown %t", code, show)
	}
}

func TestPromptRepeatsAndPresets(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newPrompter(strings.NewReader("\n  \nbad\n good \n\n"), &out)
	check := func(s string) error {
		if s == "bad" {
			return errors.New("that is bad")
		}
		return nil
	}
	if got, err := p.ask(t.Context(), "Which?", "", true, check); err != nil || got != "good" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := p.ask(t.Context(), "And?", "preset", true, check); err != nil || got != "preset" {
		t.Errorf("%q, %v", got, err)
	}
	if want := "Which?\nWhich?\nWhich?\nthat is bad\nWhich?\nAnd?\n[preset]: "; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	if _, err := p.ask(t.Context(), "?", "", false, nil); !errors.Is(err, errInputEnded) {
		t.Error(err)
	}
}
