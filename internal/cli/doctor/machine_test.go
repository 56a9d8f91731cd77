package doctor_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// TestMain is the program itself where it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "skerry" {
		os.Exit(cli.Main(cli.Build{Version: "1.2.3"}))
	}
	os.Exit(m.Run())
}

// enter has a machine's parts mounted in its root directory and runs a script there: its own /etc, /var, /run, /dev, /sys, home
// and network, the programs of this machine. All that it does ends with it.
const enter = `set -e
root=$1
mount --make-rprivate /
mount --bind $root $root
for d in usr bin sbin lib lib64; do [ ! -e /$d ] || { mkdir -p $root/$d; mount --rbind /$d $root/$d; }; done
mount -t proc proc $root/proc
mkdir -p $root/real/sys
mount --rbind /sys $root/real/sys
for d in null zero random urandom; do touch $root/dev/$d; mount --bind /dev/$d $root/dev/$d; done
[ -z "$2" ] || mount --bind "$2" $root/run/engine.sock
cp -l "$3" $root/opt/bin/skerry 2>/dev/null || cp "$3" $root/opt/bin/skerry
mkdir -p $root/real/old
cd $root
pivot_root . real/old
umount -l /real/old
exec /usr/bin/env -i PATH=/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root sh -e -c "$4"
`

// The accounts and the configurations of machines.
const (
	passwd   = "root:x:0:0::/root:/bin/sh\nci:x:61234:61234::/home/ci:/bin/sh\nother:x:61235:61235::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
	group    = "root:x:0:\nci:x:61234:\nother:x:61235:\nengine:x:61236:\nnogroup:x:65534:\n"
	shadow   = "root:*:20000:0:99999:7:::\nci:*:20000:0:99999:7:::\nother:*:20000:0:99999:7:::\n"
	entry    = "[[runners]]\nname = \"one\"\nurl = \"http://127.0.0.1:1\"\ntoken = \"glrt-0123456789abcdefghij\"\n"
	rootless = entry + "executor = \"docker\"\n[runners.docker]\nimage = \"alpine\"\ncpus = \"1\"\nhost = \"unix:///run/user/61234/podman/podman.sock\"\n"
	rootful  = entry + "executor = \"docker\"\n[runners.docker]\nimage = \"alpine\"\nhost = \"unix:///run/engine.sock\"\n"
	found    = entry + "executor = \"docker\"\n[runners.docker]\nimage = \"alpine\"\n"
	nested   = "nested = \"podman\"\n" // of entries of the container executor
	shell    = entry + "executor = \"shell\"\n"
)

// twice looks, mends and looks again; between is done by hand instead of --fix, where no command mends.
func twice(check, between string) string {
	doctor := "skerry doctor " + check + " --config /etc/config.toml "
	if between == "" {
		between = doctor + "--fix --yes >/out/fixed 2>&1 || true"
	}
	return doctor + "--json >/out/before || true\n" + between + "\n" + doctor + "--json >/out/after || true\n"
}

// TestMachines prepares a machine for each check so that it fails, has the program itself mend it by the commands that it
// advises, as root, and looks again. What takes a systemd is a stand-in that does what the real one would do to files.
func TestMachines(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("it takes root")
	}
	for name, c := range map[string]struct {
		check, config, prepare, between string
		severity, what                  string
	}{
		"configuration":          {check: "configuration", config: shell, severity: "warning", what: "every user of this machine can read /etc/config.toml", prepare: "chmod 644 /etc/config.toml"},
		"subuid":                 {check: "subuid", config: rootless, severity: "failure", what: "user ci has no range"},
		"subgid":                 {check: "subgid", config: rootless, severity: "failure", what: "user ci has no range", prepare: "echo other:100000:65536 >/etc/subgid"},
		"few ids":                {check: "subuid", config: rootless, severity: "warning", what: "has 1000 ids", prepare: "echo ci:100000:1000 | tee /etc/subuid >/etc/subgid; mkdir -p /home/ci/.local/share/containers /run/user/61234; chown -R ci /home/ci /run/user/61234; chmod 700 /run/user/61234; mount --rbind /real/sys /sys"},
		"ids of engines of jobs": {check: "subgid", config: rootless + nested, severity: "failure", what: "has 65000 ids", prepare: "echo ci:100000:65000 | tee /etc/subuid >/etc/subgid"},
		"userns": {check: "userns", config: rootful + nested, severity: "failure", what: "user.max_user_namespaces is 0", // a file in the setting's place: the real one is every test's
			prepare: "mkdir /etc/sysctl.d; echo 0 >/etc/most; mount --bind /etc/most /proc/sys/user/max_user_namespaces"},
		"tun of engines of jobs": {check: "tun", config: rootful + nested, severity: "failure", what: "not every user may read and write /dev/net/tun", prepare: "mkdir /dev/net; mknod -m 0660 /dev/net/tun c 10 200"},
		"shared ids":             {check: "subuid", config: rootless, severity: "warning", what: "users ci and other share ids", prepare: "echo ci:100000:65536 >/etc/subuid; echo other:165000:65536 >>/etc/subuid"},
		"newuidmap":              {check: "newuidmap", config: rootless, severity: "failure", what: "neither the file capability cap_setuid", prepare: "cp /bin/true /opt/bin/newuidmap"},
		"newgidmap":              {check: "newgidmap", config: rootless, severity: "failure", what: "neither the file capability cap_setgid", prepare: "cp /bin/true /opt/bin/newgidmap"},
		"linger": {check: "linger", config: rootless, severity: "failure", what: "user ci does not linger",
			prepare: "mkdir -p /run/systemd/system /var/lib/systemd/linger\n" + standIn("loginctl", `[ "$1" = enable-linger ] && touch /var/lib/systemd/linger/$2`)},
		"cgroup": {check: "cgroup", config: rootless, severity: "warning", what: "user ci has no control over cpu",
			prepare: "mkdir -p /run/systemd/system; u=/sys/fs/cgroup/user.slice/user-61234.slice/user@61234.service; mkdir -p $u; echo cpu >/sys/fs/cgroup/cgroup.controllers; echo memory pids >$u/cgroup.controllers\n" +
				standIn("systemctl", `[ "$1" = daemon-reload ] && sed -n s/Delegate=//p /etc/systemd/system/user@.service.d/delegate.conf >`+
					`/sys/fs/cgroup/user.slice/user-61234.slice/user@61234.service/cgroup.controllers`)},
		"no tun": {check: "tun", config: rootless, severity: "failure", what: "there is no /dev/net/tun",
			prepare: standIn("modprobe", `[ "$1" = tun ] && mkdir -p /dev/net && mknod -m 0666 /dev/net/tun c 10 200`)},
		"tun": {check: "tun", config: rootless, severity: "failure", what: "user ci may not read and write /dev/net/tun", prepare: "mkdir /dev/net; mknod -m 0600 /dev/net/tun c 10 200"},
		"fuse": {check: "fuse", config: rootless, severity: "failure", what: "user ci may not read and write /dev/fuse",
			prepare: "mknod -m 0600 /dev/fuse c 10 229; mkdir -p /etc/containers; echo 'mount_program = \"/usr/bin/fuse-overlayfs\"' >/etc/containers/storage.conf"},
		"ip_forward": {check: "ip_forward", config: rootful, severity: "failure", what: "net.ipv4.ip_forward is off", prepare: "mkdir /etc/sysctl.d; echo 0 >/proc/sys/net/ipv4/ip_forward"},
		"disk": {check: "disk", config: "state_dir = \"/var/state\"\n" + shell, severity: "failure", what: "the runner's state of /var/state has ",
			prepare: "mkdir /var/state; mount -t tmpfs -o size=80m none /var/state; head -c 20m /dev/zero >/var/state/junk", between: "rm /var/state/junk"},
		"storage": {check: "storage", config: found, severity: "warning", what: "podman keeps images with the driver vfs", between: "yes | skerry doctor storage --config /etc/config.toml --fix >/out/fixed 2>&1 || true",
			prepare: "mount --rbind /real/sys /sys; mkdir -p /etc/containers; printf '[storage]\\ndriver = \"vfs\"\\nrunroot = \"/run/containers/storage\"\\ngraphroot = \"/var/lib/containers/storage\"\\n' >/etc/containers/storage.conf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := machine(t, c.config)
			socket := ""
			if strings.HasPrefix(c.config, rootful) {
				socket = rootfulEngine(t)
			}
			before, after, said := run(t, root, c.prepare+"\n"+twice(c.check, c.between), socket)
			if before.Severity != c.severity || !strings.Contains(before.What, c.what) {
				t.Fatalf("it found %+v\n%s", before, said)
			}
			if name != "disk" && (!strings.Contains(said, ", 1 mended") || strings.Contains(said, "failed")) {
				t.Errorf("it does not see that it has mended it:\n%s", said)
			}
			if want := map[string]string{"disk": "warning"}[name]; after.Severity != "ok" && after.Severity != want {
				t.Errorf("it found %+v, and afterwards %+v:\n%s", before, after, said)
			}
		})
	}
}

// standIn is a script that makes a program.
func standIn(name, script string) string {
	return "printf '%s\\n' '#!/bin/sh' '" + strings.ReplaceAll(script, "'", `'\''`) + "' >/opt/bin/" + name + "; chmod 755 /opt/bin/" + name
}

// outcome is the one check of a report that is asked for.
type outcome struct{ Check, Severity, What, Command, Advice string }

// machine makes the directories and files of a machine with a configuration.
func machine(t *testing.T, config string) (root string) {
	t.Helper()
	root, err := os.MkdirTemp("", "doctor") // sockets below it have a path of at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"opt/bin", "etc", "var/lib", "var/tmp", "run", "dev/shm", "etc/pam.d", "sys", "proc", "tmp", "root", "home/ci", "out"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"etc/passwd": passwd, "etc/group": group, "etc/shadow": shadow, "etc/config.toml": config, "etc/subuid": "", "etc/subgid": "", "run/engine.sock": "", "etc/pam.d/runuser": "auth sufficient pam_rootok.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
	} {
		name = filepath.Join(root, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{
		"etc/passwd": 0o644, "etc/group": 0o644, "etc/subuid": 0o644, "etc/subgid": 0o644, "tmp": 0o777 | os.ModeSticky, "dev/shm": 0o777 | os.ModeSticky,
	} {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// run runs a script in a machine, to whose /run/engine.sock a socket of this machine is bound.
func run(t *testing.T, root, script, socket string) (before, after outcome, said string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=KILL", "sh", "-c", enter, "sh", root, socket, exe, script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fixed, _ := os.ReadFile(filepath.Join(root, "out/fixed")) // none where all was done by hand
	return report(t, filepath.Join(root, "out/before")), report(t, filepath.Join(root, "out/after")), string(out) + string(fixed)
}

// rootfulEngine is the socket of an engine of root's.
func rootfulEngine(t *testing.T) string {
	t.Helper()
	for _, e := range enginetest.All() {
		if e.Name != "rootless" {
			return strings.TrimPrefix(e.Address.Host, "unix://")
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no engine: run scripts/engines.sh")
	}
	t.Skip("no engine: scripts/engines.sh starts some")
	return ""
}

// TestClosedEngine has an ordinary user whose group may not use the engine, and takes the advice.
func TestClosedEngine(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("it takes root")
	}
	root := machine(t, strings.ReplaceAll(rootful, "engine.sock", "closed.sock"))
	socket := filepath.Join(root, "run/closed.sock")
	forward(t, socket, rootfulEngine(t))
	if err := errors.Join(os.Chown(socket, 0, 61236), os.Chmod(socket, 0o660)); err != nil {
		t.Fatal(err)
	}
	const doctor = "setpriv --reuid ci --regid ci --init-groups skerry doctor engine --config /etc/config.toml --json"
	before, after, said := run(t, root, "chown ci /etc/config.toml\n"+doctor+" >/out/before || true\nusermod -aG engine ci\n"+doctor+" >/out/after || true\n", "")
	if before.What != "this user may not use /run/closed.sock" || before.Command != "sudo usermod -aG engine ci" || after.Severity != "ok" {
		t.Errorf("it found %+v, and afterwards %+v:\n%s", before, after, said)
	}
}

// forward listens at a socket, and passes on to another.
func forward(t *testing.T, socket, to string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			for _, c := range [][2]net.Conn{{in, out}, {out, in}} {
				passing.Go(func() {
					_, _ = io.Copy(c[0], c[1]) // until either ends
					_ = in.Close()
					_ = out.Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		passing.Wait()
	})
}

// report reads what --json has written: the last of its checks is the one that was asked for.
func report(t *testing.T, path string) outcome {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Checks []outcome }
	if err := json.Unmarshal(raw, &r); err != nil || len(r.Checks) == 0 {
		t.Fatalf("%v: %s", err, raw)
	}
	return r.Checks[len(r.Checks)-1]
}
