// Package systemid knows which machine this is, as GitLab is told.
package systemid

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gitlab.com/skerry/skerry/internal/wholefile"
)

// File is the name of the file beside config.toml that holds the machine's identity.
const File = ".runner_system_id"

const length = 12

// Of returns this machine's identity towards GitLab and keeps it in dir. It is what
// GitLab Runner gives itself: "s_" and 12 hex digits made from the machine's id, or "r_" and 12
// random characters where there is none. An identity that is there already stays. When only the
// writing went wrong, or the reading of what is likely to be the same, the identity is returned together with the error.
func Of(dir string) (string, error) {
	return of(filepath.Join(dir, File), "/var/lib/dbus/machine-id", "/etc/machine-id")
}

func of(file string, machineIDs ...string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unread(err, machineIDs)
	}
	if id := strings.TrimSpace(string(text)); valid(id) {
		return id, nil
	}
	id := fresh(machineIDs)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return id, keep(file, id, err)
	}
	if err := wholefile.Replace(file, []byte(id)); err != nil {
		return id, keep(file, id, err)
	}
	return id, nil
}

// unread is for a file that is there and could not be read. One that root made for another user's
// runner holds what is made of the machine's id, where there is one; anything else would be a new identity.
func unread(err error, machineIDs []string) (string, error) {
	id := fresh(machineIDs)
	if errors.Is(err, fs.ErrPermission) && strings.HasPrefix(id, "s_") {
		return id, fmt.Errorf("read the system id: %w: %s, made of the machine's id, is used; "+
			"give the file to the user with uid %d if it holds another", err, id, os.Geteuid())
	}
	return "", fmt.Errorf("read the system id: %w: give the file to the user with uid %d, or remove it to have another made", err, os.Geteuid())
}

func keep(file, id string, err error) error {
	return fmt.Errorf("the system id cannot be kept, write %q to %s to keep it: %w", id, file, err)
}

func valid(id string) bool {
	rest, s := strings.CutPrefix(id, "s_")
	if !s {
		rest, s = strings.CutPrefix(id, "r_")
	}
	return s && len(rest) == length && strings.Trim(rest, alphanumeric) == ""
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func fresh(machineIDs []string) string {
	for _, file := range machineIDs {
		text, err := os.ReadFile(file)
		id := strings.TrimSpace(string(text))
		if err != nil || id == "" {
			continue
		}
		mac := hmac.New(sha256.New, []byte(id))
		mac.Write([]byte("gitlab-runner"))
		return "s_" + hex.EncodeToString(mac.Sum(nil))[:length]
	}
	return "r_" + rand.Text()[:length]
}
