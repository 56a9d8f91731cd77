package register

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
)

// serverOptions are what register tells GitLab about a runner. With a runner authentication token
// they belong to the server already.
type serverOptions struct {
	tagList         string
	runUntagged     bool
	locked          bool
	accessLevel     string
	maximumTimeout  int
	paused          bool
	maintenanceNote string
}

// registerOptions is a command line of register.
type registerOptions struct {
	executors         []string // that this program can run jobs with
	path              string
	template          string
	nonInteractive    bool
	leaveRunner       bool
	registrationToken string
	server            serverOptions
	runner            *program.RunnerFlags
}

// ownFlags adds the flags that are no keys of the file, with their variables' names.
func (o *registerOptions) ownFlags(flags *pflag.FlagSet) map[string]string {
	flags.StringVar(&o.template, "template-config", "", "a file with one [[runners]] entry to start from")
	flags.BoolVarP(&o.nonInteractive, "non-interactive", "n", false, "ask nothing")
	flags.BoolVar(&o.leaveRunner, "leave-runner", false, "keep the runner in GitLab when the registration fails here")
	flags.StringVarP(&o.registrationToken, "registration-token", "r", "", "registration token; GitLab is going to drop these, use --token")
	flags.StringVar(&o.server.tagList, "tag-list", "", "tags, separated by commas")
	flags.BoolVar(&o.server.runUntagged, "run-untagged", false, "take jobs without tags, too; the default when there are no tags")
	flags.BoolVar(&o.server.locked, "locked", true, "keep the runner to the project")
	flags.StringVar(&o.server.accessLevel, "access-level", "", "not_protected, or ref_protected for jobs of protected refs only")
	flags.IntVar(&o.server.maximumTimeout, "maximum-timeout", 0, "longest time of a job in seconds")
	flags.BoolVar(&o.server.paused, "paused", false, "take no jobs until somebody resumes the runner in GitLab")
	flags.StringVar(&o.server.maintenanceNote, "maintenance-note", "", "note for other administrators")
	return map[string]string{
		"template-config": "TEMPLATE_CONFIG_FILE", "non-interactive": "REGISTER_NON_INTERACTIVE",
		"leave-runner": "REGISTER_LEAVE_RUNNER", "registration-token": "REGISTRATION_TOKEN", "tag-list": "RUNNER_TAG_LIST",
		"run-untagged": "REGISTER_RUN_UNTAGGED", "locked": "REGISTER_LOCKED", "access-level": "REGISTER_ACCESS_LEVEL",
		"maximum-timeout": "REGISTER_MAXIMUM_TIMEOUT", "paused": "REGISTER_PAUSED", "maintenance-note": "REGISTER_MAINTENANCE_NOTE",
	}
}

// fromEnv sets flags that were not given from their variables and notes the variables in their help.
func fromEnv(cmd *cobra.Command, variables map[string]string, env func(string) (string, bool)) error {
	for name, variable := range variables {
		flag := cmd.Flags().Lookup(name)
		if v, ok := env(variable); ok && v != "" && !flag.Changed {
			if err := cmd.Flags().Set(name, v); err != nil {
				return fmt.Errorf("$%s: %w", variable, err)
			}
		}
	}
	return nil
}

// noteEnv adds the variables' names to the help texts.
func noteEnv(flags *pflag.FlagSet, variables map[string]string) {
	for name, variable := range variables {
		flags.Lookup(name).Usage += " [$" + variable + "]"
	}
}

// newRunner makes the runner that is to be registered: template, then variables, then flags.
func (o *registerOptions) newRunner(p *program.Program) (*config.Runner, error) {
	r := &config.Runner{}
	if o.template != "" {
		p.Logger.Info("starting from a template", "file", o.template)
		var warnings []config.Problem
		var err error
		if r, warnings, err = config.LoadTemplate(o.template); err != nil {
			return nil, err
		}
		for _, w := range warnings {
			p.Logger.Warn(w.Error())
		}
	}
	if err := o.runner.Apply(r, p.Env); err != nil {
		return nil, &program.UsageError{Command: p.Name + " register", Err: err}
	}
	if r.Name == "" {
		r.Name, _ = os.Hostname()
	}
	r.URL = strings.TrimSpace(r.URL)
	r.Token = strings.TrimSpace(r.Token)
	return r, nil
}
