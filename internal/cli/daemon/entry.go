package daemon

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/shell"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/plan"
)

// place is where this process puts things on the machine.
type place struct {
	workDir  string // absolute; relative builds_dir and cache_dir begin here
	envDir   string // environments of the shell executor
	agent    string // the installed agent
	user     string // --user
	systemID string
	engines  *engines
}

// entry makes the effective runner entry of a job from the configuration and what the coordinator's
// connection told about certificates.
func (p place) entry(r *config.Runner, tls gitlab.TLSData) (plan.Runner, error) {
	e := plan.Runner{
		Name: r.Name, URL: r.URL, Token: r.Token, SystemID: p.systemID,
		CAPEM: tls.CAChain, CertPEM: tls.Cert, KeyPEM: tls.Key,
		Executor: r.Executor, Shell: r.Shell,
		BuildsDir: p.absolute(r.BuildsDir, "builds"), CacheDir: p.absolute(r.CacheDir, "cache"),
		CloneURL: r.CloneURL, FeatureFlags: r.FeatureFlags,
		PreGetSources: r.PreGetSourcesScript, PostGetSources: r.PostGetSourcesScript,
		PreBuild: r.PreBuildScript, PostBuild: r.PostBuildScript,
		OutputLimit:        int64(r.OutputLimit) << 10,
		DebugTraceDisabled: r.DebugTraceDisabled,
		SafeDirectory:      r.SafeDirectoryCheckout == nil || *r.SafeDirectoryCheckout,
		CleanGitConfig:     r.CleanGitConfig,
		LeaveProcesses:     r.LeaveProcesses,
		PrepareTimeout:     duration(r.PrepareTimeout),
		GetSourcesTimeout:  duration(r.GetSourcesTimeout),
		KeepFailed:         duration(r.KeepFailed),
		FinalUpdateRetries: r.JobStatusFinalUpdateRetryLimit,
	}
	if r.CustomBuildDir.Enabled != nil {
		e.CustomBuildDir = *r.CustomBuildDir.Enabled
	}
	for _, v := range r.Variables() {
		e.Environment = append(e.Environment, v[0]+"="+v[1])
	}
	if r.Cache != nil {
		e.MaxCacheArchive = r.Cache.MaxUploadedArchiveSize
	}
	var options any
	switch {
	case r.Executor == executorShell:
		e.Shared, e.SharedBuilds, e.Login = true, true, true
		options = shell.Options{Dir: p.envDir, Agent: p.agent, User: p.user, Nix: shellNix(r)}
	case isContainer(r.Executor):
		o, err := p.containers(&e, r)
		if err != nil {
			return e, err
		}
		options = o
	default:
		return e, fmt.Errorf("executor %q is not in this build", r.Executor)
	}
	var err error
	e.Options, err = json.Marshal(options)
	return e, err
}

func (p place) absolute(dir, def string) string {
	if dir == "" {
		dir = def
	}
	if filepath.IsAbs(dir) {
		return filepath.Clean(dir)
	}
	return filepath.Join(p.workDir, dir)
}

func duration(d *time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return *d
}
