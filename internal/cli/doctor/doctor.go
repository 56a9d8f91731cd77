// Package doctor has the command `doctor`: it checks what the configuration needs of the machine, its engines and its servers,
// says what mends what is wrong, and does that after asking.
package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
	"gitlab.com/skerry/skerry/internal/cli/program"
)

// exitWarnings is the exit code when nothing is worse than a warning. A failure is program.ExitFailure.
const exitWarnings = 3

// doctor is one run of the command.
type doctor struct {
	program   *program.Program
	executors []string // that this build has
	machine   host.Machine

	config         string
	fix, yes, json bool
	only           []string // names of checks; nil: all
	color          bool
	answers        *bufio.Reader
}

// New returns the command. executors are those that this build has.
func New(p *program.Program, executors []string) *cobra.Command {
	d := &doctor{program: p, executors: executors}
	cmd := &cobra.Command{
		Use:   "doctor [CHECK...]",
		Short: "Check what the configuration needs, and mend it",
		Long: "Check what the configuration needs of this machine, of its container engines, of registries and of GitLab. Of everything that is wrong it says in one line each what it is, " +
			"why it matters and the command that mends it. With --fix that is done, after a question, and looked at again. It is best run as the runner's user. " +
			"CHECK is the name of a check, as the list shows it: only those are shown and mended then. " +
			"The exit code is 0 when all is well, 3 when there are warnings, 1 when there is a failure: jobs of some runner cannot run.",
		Args: d.names,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	p.ConfigFlag(cmd, &d.config)
	f := cmd.Flags()
	f.BoolVar(&d.fix, "fix", false, "mend what is wrong, after asking")
	f.BoolVar(&d.yes, "yes", false, "with --fix: do not ask, and leave alone what loses data or a safeguard")
	f.BoolVar(&d.json, "json", false, "for other programs: an object with all that was checked")
	return cmd
}

// names takes over the arguments.
func (d *doctor) names(cmd *cobra.Command, args []string) error {
	for _, a := range args {
		if !slices.Contains(Names(), a) {
			return &program.UsageError{Command: cmd.CommandPath(), Err: fmt.Errorf("there is no check %q; there are: %s", a, strings.Join(Names(), ", "))}
		}
	}
	d.only = args
	return nil
}

// Names are those of all checks.
func Names() []string {
	return []string{
		"configuration", "engine", "subuid", "subgid", "newuidmap", "newgidmap", "linger", "cgroup", "tun", "fuse", "ip_forward", "storage", "locks", "disk", "selinux", "nested", "nested_disk", "userns", "builders", "registry",
		"nix", "gitlab", "clock", "token",
	}
}

// wants reports whether a check is asked for.
func (d *doctor) wants(name string) bool { return len(d.only) == 0 || slices.Contains(d.only, name) }

// needs reports whether a check is asked for, or tells what others need to know.
func (d *doctor) needs(name string) bool {
	switch name {
	case "configuration":
		return true
	case "engine":
		asksServers := func(n string) bool { return n == "configuration" || n == "gitlab" || n == "clock" || n == "token" }
		return len(d.only) == 0 || slices.ContainsFunc(d.only, func(n string) bool { return !asksServers(n) })
	}
	return d.wants(name)
}

func (d *doctor) run(cmd *cobra.Command) error {
	switch {
	case d.yes && !d.fix:
		return &program.UsageError{Command: cmd.CommandPath(), Err: errors.New("--yes answers the questions of --fix")}
	case d.json && d.fix && !d.yes:
		return &program.UsageError{Command: cmd.CommandPath(), Err: errors.New("--json cannot ask: give --yes beside --fix")}
	}
	d.machine = host.Machine{Root: "/", UID: d.program.UID, Path: d.program.EnvDefault("PATH", "")}
	out, terminal := d.program.Streams.Out.(*os.File)
	d.color = terminal && term.IsTerminal(int(out.Fd())) && d.program.EnvDefault("NO_COLOR", "") == ""
	d.answers = bufio.NewReader(d.program.Streams.In)
	s := &session{doctor: d}
	defer s.close()
	looked, err := s.look(cmd.Context())
	if err != nil {
		return err
	}
	if d.json {
		err = d.encode(looked)
	} else {
		d.summary(looked)
	}
	if err != nil {
		return err
	}
	return verdict(looked)
}

// looked is a check with what it has found.
type looked struct {
	finding.Check
	finding.Result

	Mended bool // it was wrong before its commands were run
}

// look does all checks, and shows each and mends it, as asked for. Its error is the end of ctx, or the command line's.
func (s *session) look(ctx context.Context) (all []looked, err error) {
	for _, stage := range []func() []finding.Check{s.first, s.engineChecks, s.rest} {
		for _, c := range stage() {
			if !s.needs(c.Name) {
				continue
			}
			one := looked{Check: c, Result: c.Look(ctx)}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if !s.wants(c.Name) && (c.Name == "engine" || s.loaded != nil) {
				continue // its own business
			}
			if !s.json {
				s.show(one)
			}
			if s.fix && one.Severity > finding.Fine && len(one.Mend) > 0 {
				if err := s.mend(ctx, &one); err != nil {
					return nil, err
				}
			}
			all = append(all, one)
		}
	}
	s.settle(ctx, all)
	return all, ctx.Err()
}

// settle looks again at what is not fine when something was mended after it: one thing may have been the cause of another.
func (s *session) settle(ctx context.Context, all []looked) {
	last := -1
	for i := range all {
		if all[i].Mended {
			last = i
		}
	}
	for i := range all[:last+1] {
		if all[i].Severity == finding.Fine {
			continue
		}
		now := all[i].Look(ctx)
		if now.Severity == all[i].Severity {
			continue
		}
		all[i].Result, all[i].Mended = now, now.Severity == finding.Fine
		if !s.json {
			s.show(all[i])
		}
	}
}

// worst is the worst severity of all.
func worst(all []looked) finding.Severity {
	w := finding.Fine
	for _, l := range all {
		w = max(w, l.Severity)
	}
	return w
}

// verdict is the exit code, as an error that says nothing more.
func verdict(all []looked) error {
	switch worst(all) {
	case finding.Failure:
		return &program.ExitError{Code: program.ExitFailure}
	case finding.Warning:
		return &program.ExitError{Code: exitWarnings}
	}
	return nil
}

// about is what a check is about, in words for a sentence.
func (l looked) about() string {
	if l.About == "" {
		return l.Name
	}
	return fmt.Sprintf("%s, %s", l.Name, l.About)
}
