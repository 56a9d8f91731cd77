package enginetest

import (
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
)

// agentVariable tells a test that was run again where the agent is: as another user it cannot build one.
const agentVariable = "SKERRY_TEST_AGENT"

// PassPrefix begins the names of variables that a test which is run again as another user has, too.
const PassPrefix = "SKERRY_TEST_PASS_"

// AddressVariable holds an address of this machine that containers can reach. scripts/engines.sh prints it.
const AddressVariable = "SKERRY_TEST_ADDRESS"

// Again reports whether this process runs a test once more for a rootless engine: what needs root, or a compiler, has
// been done.
func Again() bool { return os.Getenv(agentVariable) != "" }

// Agent is the path of an agent that runs in any image, alone in its directory.
func Agent(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(agentVariable); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "agent")
	copyFile(t, agenttest.Static(t), path)
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// again runs the present test once more as another user: a rootless engine serves its own user's runner.
func again(t *testing.T, u *user.User) {
	t.Helper()
	dir, err := os.MkdirTemp("", "skerry-again")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	place(t, exe, filepath.Join(dir, "test"))
	bin := filepath.Join(dir, "agentbin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	place(t, agenttest.Static(t), filepath.Join(bin, "agent"))
	for _, p := range []string{dir, bin} {
		if err := os.Chown(p, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	var exact []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		exact = append(exact, "^"+part+"$")
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "test"), "-test.run", strings.Join(exact, "/"), "-test.v", "-test.timeout", "8m")
	cmd.Dir = dir
	for _, e := range os.Environ() { // what a test has made as root for its engines
		if strings.HasPrefix(e, PassPrefix) {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env,
		"HOME="+u.HomeDir, "USER="+u.Username, "PATH="+os.Getenv("PATH"), "TMPDIR="+dir,
		Variable+"="+os.Getenv(Variable), agentVariable+"="+filepath.Join(bin, "agent"), "CI="+os.Getenv("CI"),
		AddressVariable+"="+os.Getenv(AddressVariable),
	)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}} //nolint:gosec // ids
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+strings.SplitN(t.Name(), "/", 2)[0]) {
		t.Errorf("as user %s: %v\n%s", u.Username, err, out)
	}
}

// place gives a program another name, or copies it where that cannot be.
func place(t *testing.T, from, to string) {
	t.Helper()
	if i, err := os.Stat(from); err == nil && i.Mode().Perm()&0o005 == 0o005 && os.Link(from, to) == nil {
		return
	}
	copyFile(t, from, to)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	syscall.ForkLock.RLock() // a process that another test starts meanwhile would have the program open for writing
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err == nil {
		_, err = io.Copy(out, in)
	}
	if err == nil {
		err = out.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
