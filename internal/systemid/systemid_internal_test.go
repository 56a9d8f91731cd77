package systemid

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSystemID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	machine := filepath.Join(dir, "machine-id")
	if err := os.WriteFile(machine, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "new", File)
	// printf gitlab-runner | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
	id, err := of(file, filepath.Join(dir, "none"), machine)
	if err != nil || id != "s_ee3af03959fe" {
		t.Errorf("%q, %v", id, err)
	}
	again, err := of(file)
	if err != nil || again != id {
		t.Errorf("%q became %q, %v", id, again, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	for _, bad := range []string{"", "s_short", "x_0123456789ab", "s_0123456789a!", "0123456789"} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := of(file)
		if err != nil || !strings.HasPrefix(id, "r_") || !valid(id) {
			t.Errorf("%q became %q, %v", bad, id, err)
		}
	}
	for _, good := range []string{"s_0123456789ab", " r_AbCdEfGhIjK9\n"} {
		if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, err := of(file); err != nil || id != strings.TrimSpace(good) {
			t.Errorf("%q became %q, %v", good, id, err)
		}
	}
}

func TestSystemIDThatCannotBeRead(t *testing.T) {
	t.Parallel()
	machine := filepath.Join(t.TempDir(), "machine-id")
	if err := os.WriteFile(machine, []byte("0123456789abcdef0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	denied := &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}
	if id, err := unread(denied, []string{machine}); id != "s_ee3af03959fe" || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%q, %v", id, err)
	}
	if id, err := unread(denied, nil); id != "" || err == nil {
		t.Errorf("without a machine's id: %q, %v", id, err)
	}
	if id, err := unread(&fs.PathError{Op: "read", Path: "x", Err: syscall.EISDIR}, []string{machine}); id != "" || err == nil {
		t.Errorf("of a directory: %q, %v", id, err)
	}
}

func TestSystemIDThatCannotBeKept(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := of(filepath.Join(file, File)); err == nil {
		t.Errorf("%q without an error", id)
	}
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.MkdirAll(filepath.Join(dir, File), 0o700); err != nil {
		t.Fatal(err)
	}
	if id, err := of(filepath.Join(dir, File)); id != "" || err == nil {
		t.Errorf("%q, %v", id, err)
	}
}
