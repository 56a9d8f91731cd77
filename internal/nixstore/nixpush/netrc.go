package nixpush

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// login is what a server wants to know.
type login struct{ user, password string }

// findLogin looks for a host's login in the file that NETRC names, or ~/.netrc; nil: there is none.
func findLogin(host string, getenv func(string) string) (*login, error) {
	file := getenv("NETRC")
	named := file != ""
	if !named {
		home := getenv("HOME")
		if home == "" {
			return nil, nil //nolint:nilnil // documented
		}
		file = filepath.Join(home, ".netrc")
	}
	raw, err := os.ReadFile(file) //nolint:gosec // the operator's
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, fmt.Errorf("read the logins of binary caches: %w", err)
	}
	return parseNetrc(string(raw), host), nil
}

// parseNetrc finds a host's login, or the default one. Source: the manual of ftp(1), ".netrc".
func parseNetrc(text, host string) *login {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			lines = append(lines, line)
		}
	}
	words := strings.Fields(strings.Join(lines, " "))
	var found *login
	ours := false
	for i := 0; i < len(words); i++ {
		value := ""
		if i+1 < len(words) {
			value = words[i+1]
		}
		switch words[i] {
		case "machine", "default":
			if found != nil {
				return found
			}
			if ours = words[i] == "default" || value == host; ours {
				found = &login{}
			}
			if words[i] == "default" {
				continue
			}
		case "login":
			if ours {
				found.user = value
			}
		case "password":
			if ours {
				found.password = value
			}
		case "account", "port":
		default:
			continue
		}
		i++
	}
	return found
}
