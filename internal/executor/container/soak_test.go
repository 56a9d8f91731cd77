package container_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container"
	"gitlab.com/skerry/skerry/internal/executor/container/disk"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/job"
)

// soakVariable tells the test binary that it is a runner of TestSoak.
const soakVariable = "SKERRY_TEST_SOAK"

// soak is what such a runner is told.
type soak struct {
	Options container.Options
	Owner   executor.OwnerID
	Keep    []executor.Ref
	Seed    uint64
}

// runs are how many runners TestSoak kills, and jobs how many jobs each has.
const (
	soakRuns = 6
	soakJobs = 5
)

func newJob(project int64) *job.Job {
	return &job.Job{ID: 1, Token: "token", Name: "soak", ProjectID: project}
}

// TestSoakRunner is the runner that TestSoak kills: it begins jobs, ends some of them, and makes more.
func TestSoakRunner(t *testing.T) {
	text := os.Getenv(soakVariable)
	if text == "" {
		t.Skip("a part of TestSoak")
	}
	var s soak
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	e := container.New(s.Options, &container.Host{}, slog.New(slog.DiscardHandler))
	if err := e.Reconcile(t.Context(), s.Owner, s.Keep); err != nil {
		t.Error(err)
	}
	var jobs sync.WaitGroup
	for n := range soakJobs {
		jobs.Go(func() {
			random := rand.New(rand.NewPCG(s.Seed, uint64(n))) //nolint:gosec // only varied
			for {
				_, _ = io.WriteString(os.Stdout, "job\n")
				env, err := e.Prepare(t.Context(), executor.NewRef(s.Owner), newJob(int64(n%3)), io.Discard)
				if err != nil {
					t.Error(err)
					return
				}
				if random.IntN(3) > 0 { // else it is aborted at once
					for _, place := range []executor.Place{executor.Helper, executor.Build} {
						if conn, err := env.Dial(t.Context(), place); err == nil {
							_ = conn.Close()
						}
					}
				}
				_ = env.Close(t.Context())
			}
		})
	}
	jobs.Wait()
}

// After many jobs of runners that are killed at any moment, the next runner leaves nothing on the engine but the
// volumes that jobs use again, and nothing of its own.
func TestSoak(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a minute for each engine")
	}
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		s := soak{Options: options(t, e), Owner: executor.OwnerID(executor.NewRef("x").ID)}
		api := e.Client(t)
		t.Cleanup(func() { purge(t, api, s.Owner) })
		jobs := 0
		for s.Seed = range soakRuns {
			jobs += killedRunner(t, s)
		}
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		host := &container.Host{}
		last := container.New(s.Options, host, log)
		// The engine may still be making what the last runner asked for: hence the further looks.
		for look, quiet := 1, 0; quiet < 3 && look <= 60; look++ {
			if err := last.Reconcile(t.Context(), s.Owner, nil); err != nil {
				t.Logf("look %d: %v", look, err)
			}
			if quiet++; len(jobsThings(t, api, s.Owner)) > 0 {
				quiet = 0
			}
			<-time.After(time.Second)
		}
		if err := host.Close(context.Background()); err != nil {
			t.Error(err)
		}
		containers, networks, volumes := owned(t, api, s.Owner)
		t.Logf("%d jobs of %d runners; volumes: %d", jobs, soakRuns, len(volumes))
		if len(containers)+len(networks) > 0 {
			t.Errorf("left: containers %v, networks %v", containers, networks)
		}
		for _, v := range volumes {
			if !strings.Contains(v, "-project-") {
				t.Errorf("left: volume %s", v)
			}
		}
		if jobs < soakRuns*soakJobs {
			t.Errorf("only %d jobs were begun", jobs)
		}
		checkDir(t, s.Options.Dir)
	})
}

// killedRunner runs a runner until it has begun its jobs and a moment longer, another one each time, and returns
// how many jobs it began.
func killedRunner(t *testing.T, s soak) int {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "-test.run", "^TestSoakRunner$") // killed when ctx ends
	cmd.Env = append(os.Environ(), soakVariable+"="+string(text))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	begun := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() != "job" {
			t.Log(lines.Text())
			continue
		}
		if begun++; begun == soakJobs {
			time.AfterFunc(time.Duration(s.Seed*s.Seed)*150*time.Millisecond, cancel)
		}
	}
	if err := cmd.Wait(); ctx.Err() == nil {
		t.Errorf("a runner ended by itself: %v", err)
	}
	return begun
}

// checkDir checks that nothing of jobs is left in the directory of environments, and nothing mounted there.
func checkDir(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			t.Errorf("left: environment %s", entry.Name())
		}
	}
	leases, err := os.ReadDir(filepath.Join(dir, ".leases"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, l := range leases {
		t.Errorf("left: lease %s", l.Name())
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("left: a mount of something in %s", dir)
	}
}

// closed prepares a job, calls in between, and closes it.
func runJob(t *testing.T, e executor.Executor, ref executor.Ref, project int64, in func()) {
	t.Helper()
	env, err := e.Prepare(t.Context(), ref, newJob(project), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []executor.Place{executor.Helper, executor.Build} {
		conn, err := env.Dial(t.Context(), place)
		if err != nil {
			t.Error(err)
			continue
		}
		_ = conn.Close()
	}
	in()
	if err := env.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// What an image declares as volumes is gone with the job's containers, on each engine.
func TestAnonymousVolumesGo(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		o.Image = "skerry.test/volumes:latest"
		e.Load(t, enginetest.Image{Name: o.Image, Volumes: []string{"/data"}})
		api := e.Client(t)
		host := &container.Host{}
		ref := executor.NewRef(executor.OwnerID(executor.NewRef("x").ID))
		t.Cleanup(func() { purge(t, api, ref.Owner) })
		var anonymous []string
		runJob(t, container.New(o, host, slog.New(slog.NewTextHandler(t.Output(), nil))), ref, 1, func() {
			c, err := api.ContainerInspect(t.Context(), "skerry-"+ref.ID+"-build", client.ContainerInspectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range c.Container.Mounts {
				if m.Type == "volume" && !strings.Contains(m.Name, "-project-") {
					anonymous = append(anonymous, m.Name)
				}
			}
		})
		if len(anonymous) != 1 {
			t.Errorf("the job had the anonymous volumes %v", anonymous)
		}
		for _, v := range anonymous {
			if _, err := api.VolumeInspect(t.Context(), v, client.VolumeInspectOptions{}); !engineapi.IsAbsent(err) {
				t.Errorf("the anonymous volume %s: %v", v, err)
			}
		}
		if err := host.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// A budget takes the volumes of jobs that are over and leaves those of one that runs, whose leases hold; slots
// that no job has used for a while go, but for one.
func TestBudgetBesideJobs(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		o.Disk = disk.Policy{Percent: 0.0001}
		api := e.Client(t)
		evicted := make(chan disk.Eviction, 100)
		host := &container.Host{LookEvery: 50 * time.Millisecond, IdleSlots: time.Second, Evicted: func(e disk.Eviction) { evicted <- e }}
		x := container.New(o, host, slog.New(slog.NewTextHandler(t.Output(), nil)))
		owner := executor.OwnerID(executor.NewRef("x").ID)
		t.Cleanup(func() { purge(t, api, owner) })
		runJob(t, x, executor.NewRef(owner), 1, func() {
			runJob(t, x, executor.NewRef(owner), 1, func() {})
			runJob(t, x, executor.NewRef(owner), 2, func() {})
			for range 4 { // the builds and cache volumes of each
				select {
				case e := <-evicted:
					if e.Kind != disk.Volume {
						t.Errorf("evicted a %s", e.Kind)
					}
				case <-time.After(patience):
					t.Fatal("nothing is evicted")
				}
			}
			if _, _, volumes := owned(t, api, owner); len(volumes) != 2 {
				t.Errorf("while a job runs: volumes %v", volumes)
			}
		})
		for deadline := time.Now().Add(patience); ; <-time.After(50 * time.Millisecond) {
			containers, networks, volumes := owned(t, api, owner)
			if len(containers) == 1 && len(networks) == 1 && len(volumes) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("long after the last job: containers %v, networks %v, volumes %v", containers, networks, volumes)
				break
			}
		}
		if err := host.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if containers, networks, _ := owned(t, api, owner); len(containers)+len(networks) > 0 {
			t.Errorf("left: containers %v, networks %v", containers, networks)
		}
		checkDir(t, o.Dir)
	})
}
