package plan

import "gitlab.com/skerry/skerry/internal/stage"

// Terminal is a shell with what the job's scripts have: environment, directory and shell. status is CI_JOB_STATUS.
func (p *Plan) Terminal(status string) stage.Terminal {
	return stage.Terminal{
		Shell: p.Runner.Shell, Login: p.Runner.Login, Env: p.environment(status), EnvFile: p.envFile(),
		Dir: p.Layout.Project, Base: p.Layout.Builds,
	}
}
