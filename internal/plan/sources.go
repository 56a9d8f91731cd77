package plan

import (
	"net/url"
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
			ServerURL:   p.Value("CI_SERVER_URL"),
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
// login, which may not. clone_url replaces scheme, host and port of what the coordinator says.
// Source: gitlab-runner common/build.go, GetRemoteURL; helpers/url.
func (p *Plan) repository() (address, user, password string) {
	raw := p.Job.Git.URL
	u, err := url.Parse(raw)
	if err != nil {
		return raw, "", ""
	}
	if u.User != nil {
		user = u.User.Username()
		password, _ = u.User.Password()
		u.User = nil
	}
	if base, err := url.Parse(p.Runner.CloneURL); err == nil && base.Host != "" {
		u.Scheme, u.Host = base.Scheme, base.Host
		if prefix := strings.TrimSuffix(base.Path, "/"); prefix != "" {
			u.Path = prefix + "/" + p.Job.ProjectPath + ".git"
		}
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		if password == "" {
			user, password = "gitlab-ci-token", p.Job.Token
		}
	}
	return u.String(), user, password
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
