package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func chmod(t *testing.T, m host.Machine, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(filepath.Join(m.Root, path), mode); err != nil {
		t.Fatal(err)
	}
}

func TestTun(t *testing.T) {
	t.Parallel()
	want(t, host.Tun(machine(t, nil), ci()), finding.Failure, "there is no /dev/net/tun", "modprobe tun")
	want(t, host.Tun(machine(t, files{"run/.containerenv": ""}), ci()), finding.Failure, "there is no /dev/net/tun", "start this container with --device /dev/net/tun")
	m := machine(t, files{"dev/net/tun": ""})
	for mode, severity := range map[os.FileMode]finding.Severity{0o600: finding.Failure, 0o664: finding.Failure, 0o662: finding.Failure} {
		chmod(t, m, "dev/net/tun", mode)
		want(t, host.Tun(m, ci()), severity, "user ci may not read and write /dev/net/tun", "chmod 0666 /dev/net/tun")
	}
	chmod(t, m, "dev/net/tun", 0o666)
	want(t, host.Tun(m, ci()), finding.Fine, "", "")
	chmod(t, m, "dev/net/tun", 0o660)
	a := ci()
	a.Groups = append(a.Groups, os.Getgid())
	want(t, host.Tun(m, a), finding.Fine, "", "")
}

func TestFuse(t *testing.T) {
	t.Parallel()
	m := machine(t, files{"dev/fuse": ""})
	chmod(t, m, "dev/fuse", 0o600)
	want(t, host.Fuse(m, ci()), finding.Failure, "/dev/fuse", "chmod 0666 /dev/fuse")
	chmod(t, m, "dev/fuse", 0o666)
	want(t, host.Fuse(m, ci()), finding.Fine, "", "")

	const own, all, with = "home/ci/.config/containers/storage.conf", "etc/containers/storage.conf", "[storage.options.overlay]\nmount_program = \"/usr/bin/fuse-overlayfs\"\n"
	for name, c := range map[string]struct {
		files files
		want  bool
	}{
		"none":        {nil, false},
		"own":         {files{own: with}, true},
		"all":         {files{all: with}, true},
		"own counts":  {files{own: "[storage]\n", all: with}, false},
		"not in use":  {files{own: "# mount_program = \"/usr/bin/fuse-overlayfs\"\n"}, false},
		"another one": {files{own: "mount_program = \"/bin/x\"\n"}, false},
	} {
		if got := machine(t, c.files).NeedsFuse(ci()); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
