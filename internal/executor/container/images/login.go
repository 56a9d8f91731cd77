package images

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"gitlab.com/skerry/skerry/internal/job"
)

// Access is what a job brings to reach its images; it is kept with the job, since another process may
// have to go on with a pull. It holds secrets.
type Access struct {
	AuthConfig string           `json:"auth_config,omitempty"` // $DOCKER_AUTH_CONFIG
	Payload    []job.Credential `json:"payload,omitempty"`
	// Holder names for whom the payload's logins stand: a project of an instance and the user that the
	// job runs as. What was proven with one job's token holds for the next one's.
	Holder string `json:"holder,omitempty"`
}

// NewAccess takes it out of a job; scope tells instances of GitLab apart.
func NewAccess(j *job.Job, scope string) Access {
	a := Access{AuthConfig: j.Variables.Value("DOCKER_AUTH_CONFIG")}
	for _, c := range j.Credentials {
		if c.Type == "registry" {
			a.Payload = append(a.Payload, c)
		}
	}
	user, _ := j.Variables.First("GITLAB_USER_ID") // as the coordinator set it
	a.Holder = fmt.Sprintf("%s project %d user %s", scope, j.ProjectID, user.Value)
	return a
}

// Login is what one registry is shown; the zero value is none.
type Login struct {
	Username, Password string
	Token              string // an identity token, instead of a password
	Source             string // where it was found, in words for the job's author
	Path               string // what it is for: a host, or a repository's beginning

	payload bool
}

func (l Login) empty() bool { return l.Username == "" && l.Password == "" && l.Token == "" }

// header is X-Registry-Auth.
func (l Login) header() string {
	if l.empty() {
		return ""
	}
	server := l.Path
	if server == dockerHub {
		server = hubServer
	}
	raw, _ := json.Marshal(map[string]string{ // strings cannot fail
		"username": l.Username, "password": l.Password, "identitytoken": l.Token, "serveraddress": server,
	})
	return base64.URLEncoding.EncodeToString(raw)
}

// Sources of logins, for the job's author, in their order. Source: gitlab-runner helpers/docker/auth.
const (
	sourceVariable    = "$DOCKER_AUTH_CONFIG"
	sourceEnvironment = "DOCKER_AUTH_CONFIG of the runner's environment"
	sourcePayload     = "job payload (GitLab Registry)"
)

// entry is a login that may have to be asked of a helper program.
type entry struct {
	path   string
	source string
	login  Login
	helper string // empty: login is it
	server string // what the helper is asked for
}

// login finds the login for a repository. The longest path wins; of several for one path, that of
// $DOCKER_AUTH_CONFIG, then the runner's environment, then the files of the runner's user, then the
// job's payload. What cannot be read is told to warn and passed over.
func (k Keychain) login(ctx context.Context, a Access, repository string, warn func(string)) Login {
	entries := k.entries(a, warn)
	for p := withoutHTTPSPort(repository); p != ""; p = parent(p) {
		for _, e := range entries {
			anywhere := e.path == anyHost && !strings.Contains(p, "/")
			if e.path != p && !anywhere {
				continue
			}
			l := e.login
			if e.helper != "" {
				var err error
				if l, err = k.ask(ctx, e, p); err != nil {
					warn(fmt.Sprintf("Failed to resolve credentials from %s: %v. Credentials from this source will not be used.", e.source, err))
					continue
				}
			}
			if !l.empty() {
				l.Source, l.Path = e.source, p
				return l
			}
		}
	}
	return Login{}
}

func (k Keychain) entries(a Access, warn func(string)) []entry {
	var all []entry
	read := func(source, raw string) {
		if strings.TrimSpace(raw) == "" {
			return
		}
		e, err := parseConfig([]byte(raw), source)
		if err != nil {
			warn(fmt.Sprintf("Failed to resolve credentials from %s: %v. Credentials from this source will not be used.", source, err))
		}
		all = append(all, e...)
	}
	read(sourceVariable, a.AuthConfig)
	read(sourceEnvironment, k.getenv("DOCKER_AUTH_CONFIG"))
	for _, f := range k.files() {
		raw, err := readSmall(f)
		if err != nil {
			warn(fmt.Sprintf("Failed to resolve credentials from %s: %v. Credentials from this source will not be used.", f, err))
			continue
		}
		read(f, string(raw))
	}
	for _, c := range a.Payload {
		all = append(all, entry{
			path: registryPath(c.URL), source: sourcePayload, login: Login{Username: c.Username, Password: c.Password, payload: true},
		})
	}
	return all
}

// registryPath is the key of a login, comparable with a repository: GitLab writes hosts with ports,
// Docker URLs with a path that means nothing, users "host/group".
func registryPath(server string) string {
	rest, isURL := strings.CutPrefix(strings.ToLower(server), "https://")
	if !isURL {
		rest, isURL = strings.CutPrefix(rest, "http://")
	}
	var host, path string
	if isURL {
		host, _, _ = strings.Cut(rest, "/")
	} else {
		host, path, _ = strings.Cut(strings.TrimSuffix(server, "/"), "/")
		host = strings.ToLower(host)
		if slash := strings.LastIndexByte(path, '/'); strings.Contains(path[slash+1:], ":") {
			path = path[:strings.LastIndexByte(path, ':')]
		}
	}
	if hubHost(host) {
		host = dockerHub
	}
	host = strings.TrimSuffix(host, httpsPort)
	if path == "" {
		return host
	}
	return host + "/" + path
}

func withoutHTTPSPort(repository string) string {
	host, path, _ := strings.Cut(repository, "/")
	return strings.TrimSuffix(host, httpsPort) + "/" + path
}

func parent(path string) string {
	slash := strings.LastIndexByte(path, '/')
	if slash < 0 {
		return ""
	}
	return path[:slash]
}
