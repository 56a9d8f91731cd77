package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/program"
)

// control is what the commands work on: a machine's systemd.
type control struct {
	program *program.Program
	units   string // where unit files of the administrator are
	running string // there while systemd is the machine's init
	// systemctl runs that command and returns what it wrote.
	systemctl func(ctx context.Context, args ...string) (string, error)
}

func newControl(p *program.Program) *control {
	return &control{
		program: p, units: "/etc/systemd/system", running: "/run/systemd/system",
		systemctl: func(ctx context.Context, args ...string) (string, error) {
			out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
			}
			return string(out), err
		},
	}
}

// options are a command line of one of the commands.
type options struct {
	unit    unit
	dryRun  bool
	command string
}

// Commands returns the commands.
func Commands(p *program.Program) []*cobra.Command { return newControl(p).commands() }

func (c *control) commands() []*cobra.Command {
	return []*cobra.Command{
		c.install(),
		c.simple("uninstall", "Remove the service that install made", "Stop and disable the service and remove its unit file, if `install` made it. Configuration and state stay.", c.remove),
		c.simple("start", "Start the service", "Start the service that `install` made, by systemctl.", c.pass),
		c.simple("stop", "Stop the service", "Stop the service, by systemctl: running jobs go on where they survive it.", c.pass),
		c.simple("restart", "Restart the service", "Restart the service, by systemctl: running jobs go on where they survive it.", c.pass),
		c.simple("status", "Say whether the service runs", "Say whether the service runs; the exit code is 1 when it does not.", c.status),
	}
}

func (c *control) serviceFlag(cmd *cobra.Command, o *options) {
	cmd.Flags().StringVarP(&o.unit.Name, "service", "n", c.program.Name, "name of the service")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show what would be done")
}

func (c *control) simple(name, short, long string, do func(context.Context, options) error) *cobra.Command {
	o := options{command: name}
	cmd := &cobra.Command{Use: name, Short: short, Long: long}
	c.serviceFlag(cmd, &o)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.able(o, name != "status"); err != nil {
			return err
		}
		return do(cmd.Context(), o)
	}
	return cmd
}

func (c *control) install() *cobra.Command {
	o := options{command: "install"}
	var initUser string
	var syslog bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Make a systemd service of the runner",
		Long:  "Write a unit file of systemd that runs this program with `run`, and enable it. It is not started: that is what `start` does.",
	}
	c.serviceFlag(cmd, &o)
	c.program.ConfigFlag(cmd, &o.unit.Config)
	cmd.Flags().StringVarP(&o.unit.Work, "working-directory", "d", "", "directory that relative builds_dir and cache_dir begin in (default /var/lib/SERVICE)")
	cmd.Flags().StringVarP(&o.unit.User, "user", "u", "", "user to run the shell executor's jobs as")
	cmd.Flags().StringVarP(&initUser, "init-user", "i", "", "not supported: the runner itself runs as root")
	cmd.Flags().BoolVar(&syslog, "syslog", false, "accepted for compatibility: the service logs to the journal")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if initUser != "" {
			return &program.UsageError{Command: cmd.CommandPath(), Err: errors.New("--init-user is not supported: for a service without root, copy the unit to ~/.config/systemd/user and use systemctl --user")}
		}
		if err := c.able(o, true); err != nil {
			return err
		}
		return c.write(cmd.Context(), o)
	}
	return cmd
}

// able says why nothing can be done here.
func (c *control) able(o options, root bool) error {
	if err := o.unit.checkName(); err != nil {
		return err
	}
	if o.dryRun {
		return nil
	}
	if _, err := os.Stat(c.running); err != nil {
		return fmt.Errorf("systemd does not run this machine, so there is no service to %s: have what starts its services start `%s run`", o.command, c.program.Name)
	}
	if root && c.program.UID != 0 {
		return fmt.Errorf("%s changes services of the whole machine and needs root: run it with sudo", o.command)
	}
	return nil
}

func (c *control) path(o options) string { return filepath.Join(c.units, o.unit.Name+".service") }

// write makes the unit file and enables it.
func (c *control) write(ctx context.Context, o options) error {
	var err error
	if o.unit.Binary, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if o.unit.Config, err = filepath.Abs(o.unit.Config); err != nil {
		return err
	}
	if o.unit.Work == "" {
		o.unit.Work = filepath.Join("/var/lib", o.unit.Name)
	}
	text, err := o.unit.text()
	if err != nil {
		return err
	}
	if o.dryRun {
		c.program.Say("# %s\n%s", c.path(o), mark+text)
		c.program.Say("systemctl daemon-reload\nsystemctl enable %s.service", o.unit.Name)
		return nil
	}
	f, err := os.OpenFile(c.path(o), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already: remove it with uninstall, or give another name with --service", c.path(o))
	}
	if err != nil {
		return fmt.Errorf("write the unit: %w", err)
	}
	_, err = f.WriteString(mark + text)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write the unit: %w", err), os.Remove(c.path(o)))
	}
	if _, err := c.systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	if _, err := c.systemctl(ctx, "enable", o.unit.Name+".service"); err != nil {
		return err
	}
	c.program.Logger.Info("the service is installed and starts with the machine; start it now with `"+c.program.Name+" start`", "unit", c.path(o))
	return nil
}

// remove undoes write.
func (c *control) remove(ctx context.Context, o options) error {
	if o.dryRun {
		c.program.Say("systemctl disable --now %s.service\nrm %s\nsystemctl daemon-reload", o.unit.Name, c.path(o))
		return nil
	}
	text, err := os.ReadFile(c.path(o))
	if err != nil {
		return fmt.Errorf("there is no service to uninstall: %w", err)
	}
	if !strings.HasPrefix(string(text), mark) {
		return fmt.Errorf("%s was not made by install, so it stays: remove it by hand", c.path(o))
	}
	if _, err := c.systemctl(ctx, "disable", "--now", o.unit.Name+".service"); err != nil {
		return err
	}
	if err := os.Remove(c.path(o)); err != nil {
		return fmt.Errorf("remove the unit: %w", err)
	}
	_, err = c.systemctl(ctx, "daemon-reload")
	return err
}

// pass hands the command on to systemctl.
func (c *control) pass(ctx context.Context, o options) error {
	if o.dryRun {
		c.program.Say("systemctl %s %s.service", o.command, o.unit.Name)
		return nil
	}
	_, err := c.systemctl(ctx, o.command, o.unit.Name+".service")
	return err
}

// status says on standard output that the service runs, as GitLab Runner does.
func (c *control) status(ctx context.Context, o options) error {
	if o.dryRun {
		c.program.Say("systemctl is-active %s.service", o.unit.Name)
		return nil
	}
	out, err := c.systemctl(ctx, "is-active", o.unit.Name+".service")
	if err != nil {
		return fmt.Errorf("%s: the service does not run: %s", o.unit.Name, strings.TrimSpace(out))
	}
	c.program.Say("%s: Service is running", o.unit.Name)
	return nil
}
