package peer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// Engine is the container engine of runner entries. It is safe for concurrent use.
type Engine struct {
	Machine host.Machine
	Finder  engineapi.Finder
	Asked   engineapi.Address // as the entries have it: an empty Host is looked for
	// Own is the podman command, with which the runner starts the engine where none is found; empty: there is none.
	Own string

	mu    sync.Mutex
	facts Facts
	conn  *engineapi.Engine
}

// Facts are what an engine says of itself.
type Facts struct {
	Found    engineapi.Address
	Local    bool // it is on this machine, as far as its address tells
	Kind     engineapi.Kind
	Version  string // empty: it has not been reached
	Rootless bool
	Driver   string // of its storage: "overlay"
	Dir      string // of its storage, on its machine
	UID      int    // whose engine it is, where it is rootless or may be
}

// leastPodman and leastDocker are the oldest that the runner works with.
var (
	leastPodman = [2]int{4, 3}   //nolint:gochecknoglobals // a constant
	leastDocker = [2]int{20, 10} //nolint:gochecknoglobals // a constant
)

// Facts returns what the last look found out.
func (e *Engine) Facts() Facts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.facts
}

// Connection is that of the last look; nil: there is none.
func (e *Engine) Connection() *engineapi.Engine {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conn
}

// Close ends the connection.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conn != nil {
		_ = e.conn.Close()
	}
	e.conn = nil
}

// Check checks that the engine is there, may be used, and is new enough.
func (e *Engine) Check() finding.Check {
	about := shown(e.Asked.Host)
	if e.Asked.Host == "" {
		about = "the first that is found"
	}
	return finding.Check{Name: "engine", About: about, Look: func(ctx context.Context) finding.Result {
		f, err := e.look(ctx)
		if err != nil {
			return e.missing(f, err)
		}
		return e.judge(f)
	}}
}

// look asks the engine, and remembers what it says.
func (e *Engine) look(ctx context.Context) (Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*within) // a busy one takes long to say what it has
	defer cancel()
	e.Close()
	f, conn, err := e.ask(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.facts, e.conn = f, conn
	return f, err
}

// ask finds and asks the engine. The facts hold its address, where one was found, beside an error too.
func (e *Engine) ask(ctx context.Context) (Facts, *engineapi.Engine, error) {
	f := Facts{UID: e.Machine.UID}
	a, err := e.Finder.Find(ctx, e.Asked)
	if errors.Is(err, engineapi.ErrNone) && e.Own != "" {
		err = e.own(ctx, &f)
		return f, nil, err
	}
	f.Found = a
	path, local := strings.CutPrefix(a.Host, "unix://")
	f.Local = local
	if local {
		f.UID = owner(path, f.UID)
	}
	if err != nil {
		return f, nil, err
	}
	if err := engineapi.Ping(ctx, a, 0, nil); err != nil { // Connect waits for one that is away
		return f, nil, err
	}
	conn, err := engineapi.Connect(ctx, a, nil)
	if err != nil {
		return f, nil, err
	}
	f.Kind, f.Version, f.Rootless = conn.Kind, conn.Version, conn.Rootless
	f.Driver, f.Dir, err = conn.Storage(ctx)
	return f, conn, err
}

// owner is whom a socket belongs to; before it is there, whom its directory below /run/user is named for.
func owner(path string, otherwise int) int {
	if i, err := os.Stat(path); err == nil {
		if s, ok := i.Sys().(*syscall.Stat_t); ok {
			return int(s.Uid)
		}
	}
	if rest, ok := strings.CutPrefix(path, "/run/user/"); ok {
		id, _, _ := strings.Cut(rest, "/")
		if uid, err := strconv.Atoi(id); err == nil {
			return uid
		}
	}
	return otherwise
}

func (e *Engine) judge(f Facts) finding.Result {
	least, older := leastDocker, "Docker 20.10"
	if f.Kind == engineapi.Podman {
		least, older = leastPodman, "Podman 4.3"
	}
	if !atLeast(f.Version, least) {
		bad := finding.Result{
			Severity: finding.Failure, What: fmt.Sprintf("%s %s is older than %s", f.Kind, f.Version, older),
			Why: "the runner uses what it does not have", Advice: "install a newer one",
		}
		return bad
	}
	rootless := ""
	if f.Rootless {
		rootless = ", rootless"
	}
	where := "at " + shown(f.Found.Host)
	if f.Found.Host == "" {
		where = "started by the runner when it is needed"
	}
	return finding.OK("%s %s%s, %s", f.Kind, f.Version, rootless, where)
}

// atLeast compares the first two numbers of a version. One that cannot be read is taken for new.
func atLeast(version string, least [2]int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return true
	}
	major, err := strconv.Atoi(parts[0])
	minor, minorErr := strconv.Atoi(parts[1])
	if err != nil || minorErr != nil {
		return true
	}
	return major > least[0] || major == least[0] && minor >= least[1]
}

// missing says what is to be done about an engine that cannot be used.
func (e *Engine) missing(f Facts, err error) finding.Result {
	bad := finding.Result{Severity: finding.Failure, What: oneLine(err), Why: "without its engine no job of these runners can be run, and none is asked for"}
	path, local := strings.CutPrefix(f.Found.Host, "unix://")
	var own *ownError
	switch {
	case errors.As(err, &own):
		bad.Advice = "make `podman info` work as this user; the other findings may say how"
	case f.Found.Host == "" && strings.Contains(err.Error(), "permission denied"):
		bad.What, bad.Advice = "this user may use none of this machine's container engines", oneLine(err)
	case f.Found.Host == "" && !errors.Is(err, engineapi.ErrNone):
		bad.Advice = "correct it, or name the engine in `host` of [runners.docker]"
	case f.Found.Host == "":
		bad.What = "there is no container engine: no socket of Docker or Podman, and no podman command"
		bad.Mend, bad.Advice = installed(e.Machine.Install("podman", "podman", "podman", "podman", "podman"), "Podman, 4.3 or later")
	case !local:
		bad.Advice = "start the engine there, or correct `host`, `tls_cert_path` and `tls_verify` in [runners.docker]"
	case errors.Is(statError(path), fs.ErrPermission) || strings.Contains(err.Error(), "permission denied"):
		bad.What = "this user may not use " + path
		e.join(&bad, path)
	case errors.Is(statError(path), fs.ErrNotExist), strings.Contains(err.Error(), "nobody listens"):
		bad.What = "nobody listens on " + path
		bad.Mend, bad.Advice = e.start(path, f.UID)
	default:
		bad.Advice = "its log says more: `journalctl -u podman -u docker` where systemd runs"
	}
	return bad
}

func statError(path string) error {
	_, err := os.Stat(path)
	return err
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// join says how this user gets to use a socket.
func (e *Engine) join(bad *finding.Result, path string) {
	bad.Advice = "run the runner as the socket's owner, or use Podman of your own"
	i, err := os.Stat(path)
	if err != nil {
		return
	}
	s, ok := i.Sys().(*syscall.Stat_t)
	if !ok || s.Gid == 0 || i.Mode().Perm()&0o060 != 0o060 {
		return
	}
	group, groupErr := user.LookupGroupId(strconv.FormatUint(uint64(s.Gid), 10))
	me, meErr := user.LookupId(strconv.Itoa(e.Machine.UID))
	if groupErr != nil || meErr != nil {
		return
	}
	bad.Mend = []finding.Command{e.Machine.AsRoot("usermod", "-aG", group.Name, me.Username)}
	bad.Loses = "what is between user " + me.Username + " and root: members of group " + group.Name + " are as good as root"
	bad.Advice = "start the runner anew afterwards"
}

// installed is what there is to do besides the command that installs an engine, or in its place.
func installed(mend []finding.Command, engine string) ([]finding.Command, string) {
	if mend == nil {
		return nil, "install " + engine + ", or name another engine in `host` of [runners.docker]"
	}
	return mend, "then run doctor again"
}

// start is how an engine of this machine is started.
func (e *Engine) start(path string, uid int) (mend []finding.Command, advice string) {
	m := e.Machine
	docker := strings.Contains(filepath.Base(path), "docker")
	a, err := account(uid)
	switch {
	case docker && m.Find("dockerd") == "":
		return installed(m.Install("docker.io", "moby-engine", "docker", "docker", "docker"), "Docker, 20.10 or later")
	case !docker && m.Find("podman") == "":
		return installed(m.Install("podman", "podman", "podman", "podman", "podman"), "Podman, 4.3 or later")
	case err != nil:
		return nil, "start it"
	case m.Systemd() && docker && uid == 0:
		return []finding.Command{m.AsRoot("systemctl", "enable", "--now", "docker.service")}, ""
	case m.Systemd() && docker:
		return []finding.Command{m.As(a, "systemctl", "--user", "enable", "--now", "docker.service")}, ""
	case m.Systemd() && uid == 0:
		return []finding.Command{m.AsRoot("systemctl", "enable", "--now", "podman.socket")}, ""
	case m.Systemd():
		return []finding.Command{m.As(a, "systemctl", "--user", "enable", "--now", "podman.socket")}, ""
	case docker:
		return []finding.Command{
			m.AsRoot("setsid", "--fork", "dockerd", "--host", "unix://"+path), m.AsRoot(comesUp(path)...),
		}, "have it started at boot"
	}
	return []finding.Command{
		m.As(a, "mkdir", "-p", filepath.Dir(path)),
		m.As(a, "setsid", "--fork", "podman", "system", "service", "--time=0", "unix://"+path),
		m.As(a, comesUp(path)...),
	}, "have it started at boot, or leave `host` out: the runner starts Podman itself then"
}

// comesUp is a command that waits for what has just been started in the background: the next look is at once.
func comesUp(socket string) []string {
	return []string{"sh", "-c", fmt.Sprintf("for i in $(seq 600); do [ -S %s ] && exit; sleep 0.1; done; echo 'it does not come up' >&2; exit 1", finding.Command{socket})}
}

func account(uid int) (host.Account, error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return host.Account{}, err
	}
	return host.Account{Name: u.Username, UID: uid, Home: u.HomeDir}, nil
}
