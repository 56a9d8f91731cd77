package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// session is what checks of one run share.
type session struct {
	*doctor

	loaded  *config.Config // nil: it cannot be used
	runners []*config.Runner
	engines []*engine
}

// engine is a container engine with the entries whose jobs run there.
type engine struct {
	*peer.Engine

	runners []*config.Runner
}

func (s *session) close() {
	for _, e := range s.engines {
		e.Close()
	}
}

// first are the checks that tell what else there is to check.
func (s *session) first() []finding.Check {
	return []finding.Check{{Name: "configuration", Look: s.configuration}}
}

// configuration loads it as the runner does.
func (s *session) configuration(context.Context) finding.Result {
	s.loaded, s.runners = nil, nil
	opts := s.program.ConfigOptions()
	opts.Executors = s.executors
	c, err := config.Load(s.config, opts)
	lint := finding.Command{s.program.Name, "lint", "--config", s.config}.String()
	bad := finding.Result{Severity: finding.Failure, Why: "the runner takes no jobs for it"}
	var problems config.Problems
	switch {
	case errors.Is(err, os.ErrNotExist):
		bad.What, bad.Advice = "there is no configuration at "+s.config, "`"+finding.Command{s.program.Name, "register", "--config", s.config}.String()+"`"
		return bad
	case errors.Is(err, os.ErrPermission):
		bad.What, bad.Advice = "this user may not read "+s.config, "run doctor as the runner's user"
		return bad
	case errors.As(err, &problems):
		bad.What, bad.Advice = fmt.Sprintf("%s cannot be used: %v", s.config, problems[0]), "correct it until `"+lint+"` finds no more errors"
		return bad
	case err != nil:
		bad.What, bad.Advice = err.Error(), "correct it"
		return bad
	}
	s.loaded = c
	for _, r := range c.Runners {
		if r.Refused == nil {
			s.runners = append(s.runners, r)
		} else if bad.What == "" {
			bad.What, bad.Advice = fmt.Sprintf("a runner cannot be used: %v", firstLine(r.Refused)), "correct it until `"+lint+"` finds no more errors"
		}
	}
	if len(c.Runners) == 0 {
		bad.What, bad.Advice = "there is no runner in "+s.config, "`"+finding.Command{s.program.Name, "register", "--config", s.config}.String()+"`"
	}
	if bad.What != "" {
		return bad
	}
	if info, err := os.Stat(s.config); err == nil && info.Mode().Perm()&0o007 != 0 {
		return finding.Result{
			Severity: finding.Warning, What: fmt.Sprintf("every user of this machine can read %s (mode %04o)", s.config, info.Mode().Perm()),
			Why: "it holds tokens, with which others take this runner's jobs and their secrets", Mend: s.closed(info),
		}
	}
	return finding.OK("%s: runners: %d", s.config, len(c.Runners))
}

// closed are the commands after which the configuration is for the runner alone, whose user doctor is run as.
func (s *session) closed(i os.FileInfo) []finding.Command {
	if st, ok := i.Sys().(*syscall.Stat_t); s.program.UID == 0 || ok && int(st.Uid) == s.program.UID {
		return []finding.Command{{"chmod", "600", s.config}}
	}
	return []finding.Command{s.machine.AsRoot("chown", strconv.Itoa(s.program.UID), s.config), s.machine.AsRoot("chmod", "600", s.config)}
}

func firstLine(err error) error {
	var problems config.Problems
	if errors.As(err, &problems) && len(problems) > 0 {
		return problems[0]
	}
	return err
}

// engineChecks are those of the engines, which tell what is to be checked of the machine.
func (s *session) engineChecks() (checks []finding.Check) {
	byAddress := map[engineapi.Address]*engine{}
	getenv := func(key string) string { return s.program.EnvDefault(key, "") }
	for _, r := range s.runners {
		if r.Executor != "docker" && r.Executor != "podman" {
			continue
		}
		d := dockerOf(r)
		asked := engineapi.Address{Host: d.Host, CertPath: d.TLSCertPath, Verify: d.TLSVerify}
		e := byAddress[asked]
		if e == nil {
			e = &engine{Engine: &peer.Engine{Machine: s.machine, Asked: asked, Finder: engineapi.Finder{Getenv: getenv, Root: "/", UID: s.program.UID}}}
			if path, err := exec.LookPath("podman"); err == nil {
				e.Own = path
			}
			byAddress[asked] = e
			s.engines = append(s.engines, e)
			checks = append(checks, e.Check())
		}
		e.runners = append(e.runners, r)
	}
	return checks
}

func dockerOf(r *config.Runner) *config.Docker {
	if r.Docker == nil {
		return &config.Docker{}
	}
	return r.Docker
}

// rest are all checks that follow from the configuration and the engines.
func (s *session) rest() (checks []finding.Check) {
	for _, e := range s.engines {
		checks = append(checks, s.ofEngine(e)...)
	}
	checks = append(checks, s.ofHost()...)
	checks = append(checks, s.ofGitLab()...)
	var once []finding.Check // several engines may have the same account, or disk
	for _, c := range checks {
		if !slices.ContainsFunc(once, func(o finding.Check) bool {
			return o.Name == c.Name && o.About == c.About && c.About != "" || o.Name == c.Name && o.About == "" && c.About == ""
		}) {
			once = append(once, c)
		}
	}
	return once
}

// ofGitLab are those of the coordinators: each instance once, and each token.
func (s *session) ofGitLab() (checks []finding.Check) {
	seen := map[string]bool{}
	for _, r := range s.runners {
		one := peer.Runner{
			Name: r.Name, URL: r.URL, CertDir: string(s.program.Certificates()), Token: r.TokenKnown(),
			Verify: func(ctx context.Context, clock func(time.Time, time.Duration)) (gitlab.Registered, error) {
				return s.program.Verify(ctx, r, s.loaded.SystemID, func(o *gitlab.Options) { o.Clock = clock })
			},
		}
		if one.Token == nil && !seen[r.URL] {
			seen[r.URL] = true
			checks = append(checks, peer.GitLab(one), peer.Clock(s.machine, one, time.Now))
		}
		checks = append(checks, peer.Token(one, s.program.Name, s.config))
	}
	return checks
}

// account describes a user of this machine; ok is false for one that it does not know.
func account(uid int) (a host.Account, ok bool) {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return host.Account{}, false
	}
	a = host.Account{Name: u.Username, UID: uid, Home: u.HomeDir}
	groups, err := u.GroupIds()
	if err != nil {
		groups = []string{u.Gid}
	}
	for _, g := range groups {
		if n, err := strconv.Atoi(g); err == nil {
			a.Groups = append(a.Groups, n)
		}
	}
	return a, true
}

// stateDir is where run keeps its state unless told otherwise by a flag.
func (s *session) stateDir() string {
	if s.loaded.StateDir != "" {
		return s.loaded.StateDir
	}
	return s.program.EnvDefault("SKERRY_STATE_DIR", filepath.Join(s.loaded.Dir(), ".skerry"))
}
