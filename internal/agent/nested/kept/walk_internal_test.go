package kept

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// requested is a request of this process for places that are open.
func requested(t *testing.T, remove bool, places ...Place) string {
	t.Helper()
	r := request{Remove: remove}
	for _, p := range places {
		r.Places = append(r.Places, opened{Path: p.path, Since: p.since, FD: int(p.dir.Fd())})
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// place opens a place until the test ends.
func place(t *testing.T, path string, since time.Time) Place {
	t.Helper()
	p, err := Open(path, since)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.dir.Close() })
	return p
}

// counted is what places have, by the command.
func counted(t *testing.T, remove bool, places ...Place) Size {
	t.Helper()
	text := requested(t, remove, places...)
	var out bytes.Buffer
	if err := count(text, &out); err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil || a.Error != "" {
		t.Fatalf("%s %v", out.String(), err)
	}
	return a.Size
}

// occupied is what the kernel says that a file or directory occupies.
func occupied(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * block
}

func write(t *testing.T, path string, n int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := filepath.Join(dir, "a/b/one")
	write(t, one, 100<<10)
	write(t, filepath.Join(dir, "hole"), 0)
	if err := os.Truncate(filepath.Join(dir, "hole"), 1<<40); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := os.Link(one, filepath.Join(dir, fmt.Sprint("a/name", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/", filepath.Join(dir, "a/link")); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 { // more than one reading of a directory
		write(t, filepath.Join(dir, fmt.Sprint("many/", i)), 0)
	}
	want := Size{Files: 1 + 1 + 1 + 3000 + 3}
	for _, path := range []string{"a", "a/b", "many", "a/b/one", "hole", "a/link"} {
		want.Bytes += occupied(t, filepath.Join(dir, path))
	}
	if diff := cmp.Diff(want, counted(t, false, place(t, dir, time.Time{}))); diff != "" {
		t.Error(diff)
	}
}

// TestWhatWasThere counts nothing that has not changed since: of an image's files that of a container.
func TestWhatWasThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "image/one"), 100<<10)
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, "image/one"), &st); err != nil {
		t.Fatal(err)
	}
	since := time.Unix(st.Ctim.Unix()).Add(time.Nanosecond)
	if got := counted(t, false, place(t, dir, since)); got != (Size{}) {
		t.Errorf("the image's: %+v", got)
	}
	two := filepath.Join(dir, "two")
	for occupied(t, dir); ; { // until the clock of the file system has gone on
		write(t, two, 10<<10)
		if err := unix.Lstat(two, &st); err != nil {
			t.Fatal(err)
		}
		if !time.Unix(st.Ctim.Unix()).Before(since) {
			break
		}
		if err := os.Remove(two); err != nil {
			t.Fatal(err)
		}
	}
	if want, got := (Size{Bytes: occupied(t, two), Files: 1}), counted(t, false, place(t, dir, since)); got != want {
		t.Errorf("the container's: %+v, want %+v", got, want)
	}
	counted(t, true, place(t, dir, since))
	if _, err := os.Lstat(two); err == nil {
		t.Error("the container's file is not removed")
	}
	if _, err := os.Lstat(filepath.Join(dir, "image/one")); err != nil {
		t.Error("the image's file is removed")
	}
}

// TestDepth has directories in each other that no descriptors suffice for.
func TestDepth(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for range deepest + 2 {
		if err != nil {
			t.Fatal(err)
		}
		if err = unix.Mkdirat(at, "d", 0o700); err != nil {
			t.Fatal(err)
		}
		var below int
		below, err = unix.Openat(at, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		_ = unix.Close(at)
		at = below
	}
	_ = unix.Close(at)
	var out bytes.Buffer
	if err := count(requested(t, false, place(t, dir, time.Time{})), &out); err != nil || !strings.Contains(out.String(), "error") {
		t.Errorf("%s %v", out.String(), err)
	}
}

// TestUnlinked finds a file that another process has open and nobody can find by a name.
func TestUnlinked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `exec 3>"$1"; rm "$1"; head -c 3000000 /dev/zero >&3; echo written; read end`, "sh", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	o := open{seen: map[file]struct{}{}}
	if err := o.processes([]int{cmd.Process.Pid, 1 << 30}); err != nil { // which has ended
		t.Error(err)
	}
	var system unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &system); err != nil {
		t.Fatal(err)
	}
	if disk := !inMemory(system.Type); disk != (o.total.Files == 1) || disk != (o.total.Bytes >= 3000000) {
		t.Errorf("%+v", o.total)
	}
	_ = in.Close()
	_ = cmd.Wait()
}

// TestUnlinkedOfAThread finds a file that one thread of a process has, and no other one.
func TestUnlinkedOfAThread(t *testing.T) {
	t.Parallel()
	if fd, err := unix.PidfdOpen(unix.Gettid(), unix.PIDFD_THREAD); err == nil {
		_ = unix.Close(fd)
	} else if errors.Is(err, unix.EINVAL) {
		t.Skip("threads cannot be looked at before Linux 6.9")
	}
	path := filepath.Join(t.TempDir(), "file")
	written, end := make(chan error, 1), make(chan struct{})
	defer close(end)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with what it has
		fd := -1
		err := unix.Unshare(unix.CLONE_FILES)
		if err == nil {
			fd, err = unix.Open(path, unix.O_CREAT|unix.O_WRONLY, 0o600)
		}
		if err == nil {
			_, err = unix.Write(fd, make([]byte, 100<<10))
		}
		written <- errors.Join(err, os.Remove(path))
		<-end
	}()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	var system unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &system); err != nil {
		t.Fatal(err)
	}
	o := open{seen: map[file]struct{}{}, patience: time.Minute}
	if err := o.processes([]int{os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	if !inMemory(system.Type) && o.total.Bytes < 100<<10 {
		t.Errorf("%+v", o.total)
	}
}

// TestPlaceStays what was opened, when its name is another directory's and nobody may look into what is above it.
func TestPlaceStays(t *testing.T) {
	t.Parallel()
	above := t.TempDir()
	dir := filepath.Join(above, "a/place")
	write(t, filepath.Join(dir, "file"), 100<<10)
	want := Size{Bytes: occupied(t, filepath.Join(dir, "file")), Files: 1}
	p := place(t, dir, time.Time{})
	if err := os.Rename(dir, filepath.Join(above, "a/moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(above, "a"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(above, "a"), 0o700) })
	if got := counted(t, false, p); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if free, err := p.Free(); err != nil || free.Bytes == 0 && free.Files == 0 {
		t.Errorf("%+v %v", free, err)
	}
}

// TestNamesAreQuoted in errors, since jobs make them and people read them.
func TestNamesAreQuoted(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	r, _ := json.Marshal(request{Places: []opened{{Path: "\x1b[31m", FD: -1}}})
	if err := count(string(r), &out); err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil || !strings.HasPrefix(a.Error, `open "\x1b[31m": `) {
		t.Errorf("%q %v", a.Error, err)
	}
}

func TestMapping(t *testing.T) {
	t.Parallel()
	for ranges, want := range map[string]string{
		"podman:1:999\npodman:1001:64535\n":       "0 1000 1 1 1 999 1000 1001 64535",
		"other:5:5\n1000:7:2\n# podman\n\nx:y\n":  "0 1000 1 1 7 2",
		"podman:x:y\npodman:1:0\n\tpodman:3:4 \n": "0 1000 1 1 3 4",
	} {
		if got := strings.Join(mapping(ranges, "podman", 1000, 1000), " "); got != want {
			t.Errorf("%q: %s, want %s", ranges, got, want)
		}
	}
}
