package config

import (
	"errors"
	"path/filepath"
	"time"

	"gitlab.com/skerry/skerry/internal/config/schema"
)

// Config is a whole config.toml. Load fills in the defaults; the fields that a duration or a
// size is kept in as a number say its unit. A Config is not changed after Load returned it.
type Config struct {
	Concurrent       int            `toml:"concurrent"`         // jobs at once over all runners; default 1, 0 runs none
	CheckInterval    int            `toml:"check_interval"`     // seconds between two requests of a runner; default 3
	LogLevel         string         `toml:"log_level"`          // "" leaves it to the flags
	LogFormat        string         `toml:"log_format"`         // "runner", "text", "json"; "" leaves it to the flags
	ListenAddress    string         `toml:"listen_address"`     // of the metrics server; "" means none
	ShutdownTimeout  int            `toml:"shutdown_timeout"`   // seconds; default 30
	ConnectionMaxAge *time.Duration `toml:"connection_max_age"` // of idle connections to GitLab; default 15m
	StateDir         string         `toml:"state_dir"`          // Skerry's own; "" leaves it to run
	SessionServer    SessionServer  `toml:"session_server"`
	Runners          []*Runner      `toml:"runners"` // in the file's order, refused ones too

	User         string            `toml:"user" state:"todo"`
	SentryDSN    string            `toml:"sentry_dsn" state:"todo"`
	Labels       map[string]string `toml:"labels" state:"todo"`
	Machine      Opaque            `toml:"machine" state:"todo"`
	Experimental Opaque            `toml:"experimental" state:"todo"`

	Path     string    `toml:"-"` // the file as it was named to Load
	Warnings []Problem `toml:"-"` // what is odd in the file, in its order
	SystemID string    `toml:"-"` // of this machine, from SystemID; empty when Options.NoSystemID is set

	stamp stamp
}

// SessionServer is [session_server]: the server behind a job's web terminal.
type SessionServer struct {
	ListenAddress    string `toml:"listen_address"`
	AdvertiseAddress string `toml:"advertise_address"`
	SessionTimeout   int    `toml:"session_timeout"` // seconds; default 1800
}

// These types are those of the file's schema.
type (
	// Problem is something wrong or odd in a config.toml.
	Problem = schema.Problem //nolint:errname // a warning as often as an error
	// Problems is an error made of several problems, one a line.
	Problems = schema.Problems //nolint:errname // named for what it holds
	// Opaque is a section or value that is known but not looked into.
	Opaque = schema.Opaque
	// StringList is a list that may also be written as one string.
	StringList = schema.StringList
	// Setting is one key of a runner as a flag and an environment variable set it.
	Setting = schema.Setting
)

// Settings lists all keys of r that have a flag, in the order of the fields. Setting one changes r
// and makes the sections that lead to it.
func Settings(r *Runner) []*Setting { return schema.Settings(r) }

// Active returns the runners that were not refused.
func (c *Config) Active() []*Runner {
	var out []*Runner
	for _, r := range c.Runners {
		if r.Refused == nil {
			out = append(out, r)
		}
	}
	return out
}

// Refused joins the reasons of all runners that were refused; nil when none was.
func (c *Config) Refused() error {
	var errs []error
	for _, r := range c.Runners {
		errs = append(errs, r.Refused)
	}
	return errors.Join(errs...)
}

// Dir is the directory that relative paths of the file are meant from.
func (c *Config) Dir() string { return filepath.Dir(c.Path) }

// Stop is how long running jobs get when the runner is told to stop.
func (c *Config) Stop() time.Duration { return time.Duration(c.ShutdownTimeout) * time.Second }

// Interval is the time between two requests for a job without long polling.
func (c *Config) Interval() time.Duration { return time.Duration(c.CheckInterval) * time.Second }
