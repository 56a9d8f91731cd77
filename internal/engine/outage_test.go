package engine_test

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/stage"
)

// A failed job that GitLab itself has failed meanwhile is not taken for a delivered one: result and log are kept.
func TestFailedByTheCoordinator(t *testing.T) {
	t.Parallel()
	down := func() (gitlab.UpdateResult, error) { return gitlab.UpdateResult{}, refusal(http.StatusBadGateway) }
	already := func() (gitlab.UpdateResult, error) {
		return gitlab.UpdateResult{Accepted: true, Already: true, Status: gitlab.StatusFailed}, nil
	}
	again := func() (gitlab.UpdateResult, error) {
		return gitlab.UpdateResult{Accepted: true, Already: true, Again: true, Status: gitlab.StatusFailed}, nil
	}
	for name, c := range map[string]struct {
		answers []func() (gitlab.UpdateResult, error)
		code    int
		kept    int
	}{
		"at once":                      {append(repeat(0, down), already), 3, 1},
		"after an answer was lost":     {append(repeat(1, down), already), 3, 0},
		"within the call":              {append(repeat(0, down), again), 3, 0},
		"after GitLab's clocks":        {append(repeat(80, down), already), 3, 1},
		"a success can only be ours":   {append(repeat(0, down), already), 0, 0},
		"a success after long silence": {append(repeat(80, down), already), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, one(scripted(func(s *fake.Stage) stage.Result {
				if c.code == 0 {
					return stage.Result{}
				}
				return fake.Exit("no\n", c.code)(s)
			})), func(b *bench) {
				a, co := b.job(minimal())
				co.update = answers(c.answers...)
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Fatal(err)
				}
				if kept, err := b.journal.AllKept(); err != nil || len(kept) != c.kept {
					t.Errorf("kept %d, want %d (%v)", len(kept), c.kept, err)
				}
			})
		})
	}
}

// A job whose result is not taken says so, that its slot can be used; one whose result is taken soon does not.
func TestIdle(t *testing.T) {
	t.Parallel()
	for down, want := range map[time.Duration]time.Duration{0: 0, 30 * time.Second: 0, 10 * time.Minute: idleAfter} {
		t.Run(down.String(), func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(b *bench) {
				a, c := b.job(minimal())
				began, idle := time.Now(), atomic.Int64{}
				a.Idle = func() { idle.Store(int64(time.Since(began).Round(time.Second))) }
				c.update = func(u gitlab.Update) (gitlab.UpdateResult, error) {
					if u.State != "running" && time.Since(began) < down {
						return gitlab.UpdateResult{}, refusal(http.StatusBadGateway)
					}
					return accepted()
				}
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Fatal(err)
				}
				if got := time.Duration(idle.Load()); got != want {
					t.Errorf("idle after %v, want %v", got, want)
				}
			})
		})
	}
}

const idleAfter = time.Minute

// A job's numbers are free once its environment is closed, and not before, however long its result is not taken.
func TestClosed(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(b *bench) {
		a, c := b.job(minimal())
		var closed, removed atomic.Bool
		a.Closed = func() {
			closed.Store(true)
			removed.Store(len(b.machine.Refs()) == 0)
		}
		early := true
		c.update = func(u gitlab.Update) (gitlab.UpdateResult, error) {
			switch {
			case u.State == "running":
				early = closed.Load()
			case !closed.Load():
				return gitlab.UpdateResult{}, refusal(http.StatusBadGateway)
			}
			return accepted()
		}
		if err := b.engine.Run(b.t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if early || !removed.Load() {
			t.Errorf("freed while the job ran: %v; after its environment was closed: %v", early, removed.Load())
		}
	})
}

// A download that breaks off is begun again, whatever ARTIFACT_DOWNLOAD_ATTEMPTS says of refusals; one that does so
// each time ends.
func TestDownloadThatBreaksOff(t *testing.T) {
	t.Parallel()
	for cuts, want := range map[int]string{0: "success", 1: "success", 9: "success", 1000: "failed"} {
		t.Run(strconv.Itoa(cuts), func(t *testing.T) {
			t.Parallel()
			bubble(t, nil, func(b *bench) {
				a, c := b.job(whole())
				withDownload(c)
				c.cuts = cuts
				began := time.Now()
				if err := b.engine.Run(b.t.Context(), a); err != nil {
					t.Fatal(err)
				}
				if got := c.final(t); got.State != want {
					t.Errorf("ended %+v; log:\n%s", got, c.text())
				}
				if took := time.Since(began); took > 5*time.Minute {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}
