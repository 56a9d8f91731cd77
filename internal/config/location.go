package config

import (
	"os"
	"path/filepath"
)

// DefaultPath is where config.toml is when nobody says where: /etc/gitlab-runner for root, else
// .gitlab-runner in the home directory, else the working directory. home may be empty.
func DefaultPath(uid int, home string) string {
	const name = "config.toml"
	switch {
	case uid == 0:
		return filepath.Join("/etc/gitlab-runner", name)
	case home != "":
		return filepath.Join(home, ".gitlab-runner", name)
	}
	wd, err := os.Getwd()
	if err != nil {
		return name
	}
	return filepath.Join(wd, name)
}
