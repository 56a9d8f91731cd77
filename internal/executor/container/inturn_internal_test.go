package container

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func TestInTurn(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	first := &step{done: make(chan struct{})}
	w := &inTurn{out: &out, turn: first}
	fmt.Fprintln(w, "second")
	if out.Len() > 0 {
		t.Errorf("out of turn: %q", out.String())
	}
	fmt.Fprintln(&out, "first")
	close(first.done)
	fmt.Fprintln(w, "third")
	w.end(t.Context(), nil)
	if want := "first\nsecond\nthird\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestInTurnWaitsForNobodyWithAnError(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := &inTurn{out: &out, turn: &step{done: make(chan struct{})}}
	fmt.Fprintln(w, "why")
	w.end(t.Context(), errors.New("it went wrong"))
	if out.String() != "why\n" {
		t.Errorf("%q", out.String())
	}
}
