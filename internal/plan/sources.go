package plan

import (
	"net/url"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// Sources is the stage that brings the project directory to the job's commit.
func (p *Plan) Sources() Step {
	st := p.step(job.StageGetSources, "Getting source from Git repository")
	address, user, password := p.repository()
	src := &stage.Sources{
		Strategy:     p.Settings.GitStrategy,
		URL:          address,
		Trusted:      p.trusted(),
		Username:     user,
		Password:     password,
		ObjectFormat: p.Job.Git.ObjectFormat,
		SHA:          p.Job.Git.SHA,
		Ref:          p.Job.Git.Ref,
		Refspecs:     p.Job.Git.Refspecs,
		Depth:        p.Job.Git.Depth,
		Checkout:     p.Settings.GitCheckout,
		CleanFlags:   p.Settings.CleanFlags,
		FetchFlags:   p.Settings.FetchFlags,
		CloneFlags:   p.Settings.CloneFlags,
		NativeClone:  p.Flag(FlagNativeClone),
		LFSSkip:      p.Settings.LFSSkipSmudge,
		SafeDir:      p.Runner.SafeDirectory,
		Attempts:     p.Settings.GetSources,
		UserAgent:    p.userAgent(),
		Timeout:      p.Runner.GetSourcesTimeout,
		Submodules: stage.Submodules{
			Strategy:    p.Settings.SubmoduleMode,
			Paths:       p.Settings.SubmodulePaths,
			Depth:       p.Settings.SubmoduleDepth,
			UpdateFlags: p.Settings.SubmoduleFlags,
			ForceHTTPS:  p.Settings.SubmoduleHTTPS,
			ServerHost:  p.Value("CI_SERVER_HOST"),
			ServerURL:   p.base(),
			SSHHost:     p.Value("CI_SERVER_SHELL_SSH_HOST"),
			SSHPort:     p.Value("CI_SERVER_SHELL_SSH_PORT"),
		},
		CAFile:   p.pathOf("CI_SERVER_TLS_CA_FILE"),
		CertFile: p.pathOf("CI_SERVER_TLS_CERT_FILE"),
		KeyFile:  p.pathOf("CI_SERVER_TLS_KEY_FILE"),
	}
	if p.Runner.CleanGitConfig != nil {
		src.CleanConfig = *p.Runner.CleanGitConfig
	}
	st.Spec.Sources = src
	st.Spec.Pre = nonEmpty(p.Runner.PreGetSources, p.hook("pre_get_sources_script"))
	st.Spec.Post = nonEmpty(p.hook("post_get_sources_script"), p.Runner.PostGetSources)
	return st
}

// repository splits the repository's URL into the address, which may be written down, and the
// login, which may not. clone_url says where the projects are instead of the coordinator.
// Source: gitlab-runner helpers/url/gitauth.go.
func (p *Plan) repository() (address, user, password string) {
	raw := p.Job.Git.URL
	u, err := url.Parse(raw)
	if err != nil {
		return raw, "", ""
	}
	if base := p.cloneURL(); base != nil {
		project := p.Value("CI_PROJECT_PATH")
		if project == "" {
			project = p.Job.ProjectPath
		}
		u = base.JoinPath(project + ".git")
	}
	login := u.User
	u.User = nil
	switch u.Scheme {
	case "http", "https":
		if password, _ = login.Password(); password != "" && p.cloneURL() == nil {
			return u.String(), login.Username(), password
		}
		return u.String(), "gitlab-ci-token", p.Job.Token
	case "ssh":
		if u.User = url.User(login.Username()); login.Username() == "" {
			u.User = url.User("git")
		}
	}
	return u.String(), login.Username(), ""
}

// cloneURL is the runner's clone_url, nil when there is none.
func (p *Plan) cloneURL() *url.URL {
	u, err := url.Parse(p.Runner.CloneURL)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return nil
	}
	return u
}

// base is where projects are reached over HTTP, for submodules with SSH URLs.
func (p *Plan) base() string {
	if u := p.cloneURL(); u != nil {
		u.User = nil
		return u.String()
	}
	if p.Runner.URL != "" {
		return p.Runner.URL
	}
	return p.Value("CI_SERVER_URL")
}

// trusted lists the other addresses of the coordinator: submodules may name any of them.
func (p *Plan) trusted() []string {
	var list []string
	for _, address := range []string{p.Job.Git.URL, p.Runner.URL, p.Value("CI_SERVER_URL")} {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" {
			continue
		}
		if host := u.Scheme + "://" + u.Host; !slices.Contains(list, host) {
			list = append(list, host)
		}
	}
	return list
}

func (p *Plan) userAgent() string {
	return p.Version.Name + " " + p.Version.Version + " " + p.Version.Platform + "/" + p.Version.Arch
}

// pathOf is the path of a file variable, empty when there is no such variable.
func (p *Plan) pathOf(key string) string {
	if v, ok := p.Variables.Lookup(key); ok && v.File {
		return p.filePath(key)
	}
	return ""
}

// hook is the text of one of the job's hooks, as one script.
func (p *Plan) hook(name string) string {
	for _, h := range p.Job.Hooks {
		if h.Name == name {
			return strings.Join(h.Script, "\n")
		}
	}
	return ""
}

func nonEmpty(texts ...string) []string {
	var out []string
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}
