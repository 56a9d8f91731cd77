package register

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
)

// complete finds out what is missing, in the order in which GitLab Runner asks, and checks it.
func (g *registration) complete(ctx context.Context) error {
	var missing []string
	fill := func(value *string, flag, question string, required bool, check func(string) error) error {
		*value = strings.TrimSpace(*value)
		if g.ask != nil {
			answer, err := g.ask.ask(ctx, question, *value, required, check)
			*value = answer
			return err
		}
		if *value == "" {
			if required {
				missing = append(missing, "--"+flag)
			}
			return nil
		}
		if check != nil {
			if err := check(*value); err != nil {
				return fmt.Errorf("--%s: %w", flag, err)
			}
		}
		return nil
	}
	r := g.runner
	if err := fill(&r.URL, "url", "Address of GitLab (for example https://gitlab.com/):", true, checkAddress); err != nil {
		return err
	}
	if err := g.completeToken(fill); err != nil {
		return err
	}
	executors := "Executor (" + strings.Join(config.KnownExecutors(), ", ") + "):"
	if err := fill(&r.Executor, "executor", executors, true, checkExecutor); err != nil {
		return err
	}
	g.keepOwnSections()
	if r.Executor == "docker" {
		if err := fill(&r.Docker.Image, "docker-image", "Image for jobs that name none (for example debian:13):", true, nil); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return &program.UsageError{Command: g.program.Name + " register", Err: fmt.Errorf("nothing is asked with --non-interactive, so give %s", strings.Join(missing, ", "))}
	}
	return nil
}

type filler func(value *string, flag, question string, required bool, check func(string) error) error

// completeToken settles with which token, and so which kind of registration, this is.
func (g *registration) completeToken(fill filler) error {
	r, s := g.runner, &g.options.server
	if r.TokenFile != "" && r.Token == "" {
		return g.readTokenFile(fill)
	}
	legacy := false // a runner token where a registration token used to be
	if r.Token == "" {
		token := g.options.registrationToken
		if err := fill(&token, "token", "Token of the runner (glrt-...) or registration token:", true, checkToken); err != nil {
			return err
		}
		if runnertoken.IsRunner(token) {
			r.Token, legacy = token, g.options.registrationToken != ""
		} else {
			g.token = token
		}
	}
	if g.token == "" {
		if err := g.refuseServerOptions(legacy); err != nil {
			return err
		}
		return fill(&r.Name, "name", "Name of the runner, for the configuration only:", true, nil)
	}
	if err := fill(&r.Name, "name", "Description of the runner:", true, nil); err != nil {
		return err
	}
	if err := fill(&s.tagList, "tag-list", "Tags of the runner, separated by commas:", false, nil); err != nil {
		return err
	}
	return fill(&s.maintenanceNote, "maintenance-note", "Note for other administrators (may be empty):", false, nil)
}

// readTokenFile verifies the token that --token-file names; the configuration only gets the name.
func (g *registration) readTokenFile(fill filler) error {
	r := g.runner
	path := r.TokenFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(g.options.path), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	r.Token = strings.TrimSpace(string(text))
	if err := g.refuseServerOptions(false); err != nil {
		return err
	}
	return fill(&r.Name, "name", "Name of the runner, for the configuration only:", true, nil)
}

func checkToken(token string) error {
	if strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' }) {
		return errors.New("a token holds no spaces")
	}
	return nil
}

// refuseServerOptions makes sure that nothing is set here that the server decides. A runner token
// in the place of a registration token only gets a warning, so that old scripts go on working.
func (g *registration) refuseServerOptions(legacy bool) error {
	s := g.options.server
	var set []string
	for _, o := range []struct {
		name  string
		given bool
	}{
		{"--tag-list", s.tagList != ""}, {"--run-untagged", s.runUntagged}, {"--locked", !s.locked},
		{"--access-level", s.accessLevel != ""}, {"--maximum-timeout", s.maximumTimeout != 0},
		{"--paused", s.paused}, {"--maintenance-note", s.maintenanceNote != ""},
	} {
		if o.given {
			set = append(set, o.name)
		}
	}
	if len(set) == 0 {
		return nil
	}
	if legacy {
		g.program.Logger.Warn("these flags have no effect with a runner authentication token: set them in GitLab", "flags", strings.Join(set, " "))
		return nil
	}
	return &program.UsageError{
		Command: g.program.Name + " register",
		Err: fmt.Errorf("%s cannot be given with a runner authentication token: GitLab keeps this; set it there and leave the flags out",
			strings.Join(set, ", ")),
	}
}

// keepOwnSections drops the sections of other executors, which variables such as DOCKER_HOST fill
// without anybody's wish, and gives a docker runner its cache volume as GitLab Runner does.
func (g *registration) keepOwnSections() {
	r := g.runner
	r.SSH, r.Parallels, r.VirtualBox, r.Machine, r.Custom, r.Referees = nil, nil, nil, nil, nil, nil
	if r.Executor != "kubernetes" {
		r.Kubernetes = nil
	}
	if r.Executor != "docker" {
		r.Docker = nil
		return
	}
	if r.Docker == nil {
		r.Docker = &config.Docker{}
	}
	const cache = "/cache"
	has := slices.ContainsFunc(r.Docker.Volumes, func(v string) bool {
		return v[strings.LastIndexByte(v, ':')+1:] == cache
	})
	if !has && !r.Docker.DisableCache {
		r.Docker.Volumes = append(r.Docker.Volumes, cache)
	}
}
