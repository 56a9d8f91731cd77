package control_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/control"
)

// stores has one, a/b, and answers with what it was asked.
type stores struct{}

func there(store string) error {
	if store != "a/b" {
		return fmt.Errorf("%s: %w", store, control.ErrNotFound)
	}
	return nil
}

func (*stores) Stat(context.Context) []control.NixStore {
	return []control.NixStore{{Name: "a/b", Jobs: 2, All: control.NixShare{Paths: 3, Bytes: 4}, LastUsed: time.Unix(5, 0).UTC()}}
}

func (*stores) Known() []control.NixStore { return []control.NixStore{{Name: "a/b"}} }

func (*stores) List(_ context.Context, store string) ([]control.NixPath, error) {
	return []control.NixPath{{Path: "/nix/store/x", Bytes: 1, Roots: []string{"pin:p"}}}, there(store)
}

func (*stores) Collect(_ context.Context, store string, c control.NixCollection) (control.NixCollected, error) {
	if c.KeepFor == nil || c.FreePercent == 0 || !c.DryRun {
		return control.NixCollected{}, errors.New("it was told nothing")
	}
	return control.NixCollected{Store: store, Count: 9, Paths: []string{c.KeepFor.String()}, Bytes: c.MaxFreed}, there(store)
}

func (*stores) Pin(_ context.Context, store, name string, paths []string) ([]string, error) {
	return append([]string{name}, paths...), there(store)
}

func (*stores) Unpin(_ context.Context, store, name string) ([]string, error) {
	if name == "none" {
		return nil, errors.New("nothing is pinned by the name")
	}
	return []string{name}, there(store)
}

func TestNixStores(t *testing.T) {
	t.Parallel()
	c, _ := serve(t, &runner{})
	ctx := t.Context()
	all, err := c.NixStores(ctx)
	if diff := cmp.Diff((&stores{}).Stat(ctx), all); diff != "" || err != nil {
		t.Error(diff, err)
	}
	known, err := c.NixKnown(ctx)
	if diff := cmp.Diff((&stores{}).Known(), known); diff != "" || err != nil {
		t.Error(diff, err)
	}
	paths, err := c.NixPaths(ctx, "a/b")
	if want, _ := (&stores{}).List(ctx, "a/b"); cmp.Diff(want, paths) != "" || err != nil {
		t.Error(paths, err)
	}
	hour := time.Hour
	done, err := c.NixCollect(ctx, "a/b", control.NixCollection{KeepFor: &hour, FreePercent: 10, MaxFreed: 7, DryRun: true})
	if diff := cmp.Diff(control.NixCollected{Store: "a/b", Count: 9, Paths: []string{"1h0m0s"}, Bytes: 7}, done); diff != "" || err != nil {
		t.Error(diff, err)
	}
	pinned, err := c.NixPin(ctx, "a/b", "tool", []string{"x", "y"})
	if diff := cmp.Diff([]string{"tool", "x", "y"}, pinned); diff != "" || err != nil {
		t.Error(diff, err)
	}
	pinned, err = c.NixUnpin(ctx, "a/b", "tool")
	if diff := cmp.Diff([]string{"tool"}, pinned); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err = c.NixUnpin(ctx, "a/b", "none"); err == nil || err.Error() != "nothing is pinned by the name" {
		t.Error(err)
	}
	var refusal *control.Refusal
	if _, err = c.NixPaths(ctx, "other"); !errors.As(err, &refusal) || refusal.Status != 404 {
		t.Error(err)
	}
	if _, err = c.NixPin(ctx, "a/b", "tool", []string{strings.Repeat("x", 5<<20)}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Error(err)
	}
}
