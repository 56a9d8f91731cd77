package container

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nixdaemon"
)

// A collection is told of all jobs that have a store, also of one whose record nobody can read.
func TestJobsOfAStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if jobs, err := nixJobs(filepath.Join(dir, "none"), "d"); len(jobs) > 0 || err != nil {
		t.Error(jobs, err)
	}
	for id, domain := range map[string]string{"one": "d", "two": "d", "other": "e", "without": ""} {
		b := &blueprint{Ref: executor.Ref{Owner: "o", ID: id}}
		if domain != "" {
			b.Nix = &nixPart{Domain: domain}
		}
		if err := b.write(filepath.Join(dir, id)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"broken", "empty", ".leases", unfinishedPrefix + "x"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "broken", fileBlueprint), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	jobs, err := nixJobs(dir, "d")
	slices.Sort(jobs)
	if diff := cmp.Diff([]string{"broken", "one", "two"}, jobs); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// The images of Nix daemons are in use as long as their stores are known, jobs or not; and their agents stay.
func TestImagesOfNixDaemonsAreInUse(t *testing.T) {
	t.Parallel()
	h := &Host{}
	e := New(Options{Dir: t.TempDir(), Engine: engineapi.Address{Host: "unix:///none"}}, h, slog.New(slog.DiscardHandler))
	b := &blueprint{Ref: executor.Ref{Owner: "o", ID: "one"}, Nix: &nixPart{Domain: "d", Image: "of-a-job"}}
	if err := b.write(e.dir(b.Ref)); err != nil {
		t.Fatal(err)
	}
	k := e.nixKeeper()
	k.Use(nixdaemon.Spec{Owner: "o", Domain: "d", Image: "of-a-store", Agent: carrier.Way{}, AgentPath: "/agents/1/agent"})()
	k.Close()
	images, err := e.imagesInUse()
	if diff := cmp.Diff([]string{"of-a-job", "of-a-store"}, images); diff != "" || err != nil {
		t.Error(diff, err)
	}
	agents, err := NixAgents(e.o.Dir)
	if diff := cmp.Diff([]string{"/agents/1/agent"}, agents); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
