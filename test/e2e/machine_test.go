package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/image"
)

// addressVariable names an address of this machine that containers can reach. scripts/engines.sh prints it.
const addressVariable = "SKERRY_TEST_ADDRESS"

// jobImage is the image of the jobs of these tests: a static busybox.
const jobImage = "skerry.test/e2e:latest"

// labelOwner is on everything that a runner makes with an engine.
const labelOwner = "com.gitlab.skerry.owner"

// machine is where a test's jobs run: on this machine by the shell executor, or in an engine's containers.
// The zero value is the shell executor.
type machine struct {
	engine enginetest.Engine
	user   *user.User // whom the runner runs as; nil: as this process's user
}

func (m machine) shell() bool { return m.engine.Name == "" }

// everywhere runs test with the shell executor and with every engine, or with those that are named, as subtests.
func everywhere(t *testing.T, test func(t *testing.T, m machine), only ...string) {
	t.Helper()
	t.Run("shell", func(t *testing.T) {
		t.Parallel()
		test(t, machine{})
	})
	onEngines(t, test, only...)
}

// racedOnEngines are the tests that have engines under the race detector, too. Of the others it sees the runner and its agent
// where the jobs are this machine's; containers add the engine's work, and an agent without the detector.
var racedOnEngines = []string{"TestStorm", "TestTwoRunnersOnOneEngine", "TestNixBuildOutlivesTheRunner"}

// onEngines runs test with every engine, or with those that are named, as subtests.
func onEngines(t *testing.T, test func(t *testing.T, m machine), only ...string) {
	t.Helper()
	engines := enginetest.All()
	if len(engines) == 0 || os.Getenv(addressVariable) == "" {
		t.Run("engines", func(t *testing.T) {
			says := fmt.Sprintf("not run with containers: evaluate what scripts/engines.sh prints as root (%s, %s)", enginetest.Variable, addressVariable)
			if os.Getenv("CI") != "" {
				t.Fatal(says)
			}
			t.Skip(says)
		})
		return
	}
	if agenttest.Race && !slices.Contains(racedOnEngines, t.Name()) {
		t.Run("engines", func(t *testing.T) { t.Skip("not under the race detector: see racedOnEngines") })
		return
	}
	for _, e := range engines {
		if len(only) > 0 && !strings.Contains(" "+strings.Join(only, " ")+" ", " "+e.Name+" ") {
			continue
		}
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			test(t, machine{engine: e, user: e.User(t)})
		})
	}
}

// address is where this machine's servers listen for the jobs of m.
func (m machine) address() string {
	if m.shell() {
		return "127.0.0.1"
	}
	return os.Getenv(addressVariable)
}

// coordinator starts a coordinator that m's jobs can reach.
func (m machine) coordinator(t *testing.T, o gitlabtest.Options) *gitlabtest.Coordinator {
	t.Helper()
	o.Listen = m.address() + ":0"
	return gitlabtest.Start(t, o)
}

// project starts a coordinator that has the project group/project.
func (m machine) project(t *testing.T, o gitlabtest.Options) *gitlabtest.Coordinator {
	t.Helper()
	o.Listen = m.address() + ":0"
	return withProject(t, o)
}

// dir makes a directory of the runner's user that is gone when the test ends.
func (m machine) dir(t *testing.T) string {
	t.Helper()
	if m.user == nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "skerry-e2e-"+m.user.Username)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	m.own(t, dir)
	return dir
}

// own gives a file to the runner's user.
func (m machine) own(t *testing.T, path string) {
	t.Helper()
	if m.user == nil {
		return
	}
	uid, gid := m.ids(t)
	if err := os.Chown(path, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
}

func (m machine) ids(t *testing.T) (uid, gid uint32) {
	t.Helper()
	u, err := strconv.ParseUint(m.user.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	g, err := strconv.ParseUint(m.user.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(u), uint32(g)
}

// as makes a command run as the runner's user.
func (m machine) as(t *testing.T, cmd *exec.Cmd, env []string) {
	t.Helper()
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if m.user == nil {
		return
	}
	uid, gid := m.ids(t)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "USER=" + m.user.Username}, env...)
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
}

// entry is the part of a runner's entry that says where its jobs run.
func (m machine) entry(t *testing.T, docker ...string) string {
	t.Helper()
	if m.shell() {
		return "executor = \"shell\"\n"
	}
	return fmt.Sprintf("executor = \"docker\"\n[runners.docker]\nhost = %q\nimage = %q\nhelper_image = %q\npull_policy = \"if-not-present\"\nwait_for_services_timeout = 120\n%s\n",
		m.engine.Address.Host, m.images(t), helper(t).Ref, strings.Join(docker, "\n"))
}

// helper is the helper image that can be made of this machine's git.
func helper(t *testing.T) *image.Helper {
	t.Helper()
	h, err := newHelper()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

var newHelper = sync.OnceValues(func() (*image.Helper, error) { return image.NewHelper(context.Background()) })

// loaded remembers which engines have been given the images of these tests.
var loaded sync.Map

// images gives the engine the images of these tests and returns the name of the jobs'.
func (m machine) images(t *testing.T) string {
	t.Helper()
	once, _ := loaded.LoadOrStore(m.engine.Address, &sync.Once{})
	once.(*sync.Once).Do(func() {
		m.engine.Load(t, enginetest.Image{Name: jobImage})
		if _, err := m.client(t).ImageInspect(t.Context(), helper(t).Ref); err == nil {
			return // its name follows from what is in it
		}
		var archive bytes.Buffer
		if err := helper(t).Write(&archive); err != nil {
			t.Fatal(err)
		}
		r, err := m.client(t).ImageLoad(t.Context(), &archive)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := bytes.NewBuffer(nil).ReadFrom(r); err != nil {
			t.Fatal(err)
		}
	})
	return jobImage
}

// client is a client of the whole API of m's engine.
func (m machine) client(t *testing.T) *client.Client {
	t.Helper()
	return m.engine.Client(t)
}

// agentProgram is an agent that runs in any image and that every user can read.
var agentProgram = sync.OnceValues(func() (string, error) {
	path, err := program()
	return filepath.Join(filepath.Dir(path), "agent", "agent"), err
})

func (m machine) agent(t *testing.T) string {
	t.Helper()
	if m.shell() {
		return agenttest.Build(t)
	}
	path, err := agentProgram()
	if err != nil {
		t.Fatal(err)
	}
	installing.Lock()
	defer installing.Unlock()
	if exists(path) {
		return path
	}
	body, err := os.ReadFile(agenttest.Static(t))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		syscall.ForkLock.RLock() // a process that another test is starting just now must not have it open for writing
		err = os.WriteFile(path+".new", body, 0o755)
		syscall.ForkLock.RUnlock()
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var installing sync.Mutex
