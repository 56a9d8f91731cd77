package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"gitlab.com/skerry/skerry/internal/config/schema"
	"gitlab.com/skerry/skerry/internal/systemid"
)

// MaxSize is how large a config.toml may be, in bytes.
const MaxSize = 1 << 20

// byteOrderMark begins files that some editors write.
const byteOrderMark = "\ufeff"

// Options says how to read a file.
type Options struct {
	// Env looks up environment variables for $VAR in url and token; nil means the process's own.
	Env func(key string) (string, bool)
	// Executors are those that this program has. A runner with another one is refused. nil means
	// all that Skerry is going to have, which suits commands that run no job.
	Executors []string
	// NoSystemID leaves Config.SystemID empty and .runner_system_id alone.
	NoSystemID bool
}

// KnownExecutors are the executors of config.toml that Skerry has or is going to have.
func KnownExecutors() []string { return []string{"shell", "docker", "podman", "kubernetes"} }

// Load reads the file at path, fills in the defaults and checks it. The error is one that
// errors.Is(err, fs.ErrNotExist) knows, or a Problems. Refused runners are no error: see
// Config.Refused. Load writes nothing but a missing .runner_system_id beside the file.
func Load(path string, opts Options) (*Config, error) {
	text, mark, err := read(path)
	if err != nil {
		return nil, err
	}
	c, err := parse(path, text, opts)
	if err != nil {
		return nil, err
	}
	c.stamp = mark.with(c)
	if mark.mode.Perm()&0o007 != 0 && len(c.Runners) > 0 {
		c.Warnings = append(c.Warnings, Problem{File: path, Message: fmt.Sprintf(
			"can be read by every user of this machine (mode %04o) although it holds tokens: run chmod 600 on it", mark.mode.Perm())})
	}
	if !opts.NoSystemID {
		id, err := systemid.Of(filepath.Dir(path))
		if id == "" {
			return nil, err
		}
		if err != nil {
			c.Warnings = append(c.Warnings, Problem{File: path, Message: err.Error()})
		}
		c.SystemID = id
	}
	return c, nil
}

// read returns the file's bytes and what tells this version of it from others.
func read(path string) ([]byte, stamp, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, stamp{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, stamp{}, fmt.Errorf("read configuration: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, stamp{}, fmt.Errorf("read configuration: %w", err)
	}
	if len(text) > MaxSize {
		return nil, stamp{}, fmt.Errorf("read configuration: %s is larger than %d bytes: is it the right file?", path, MaxSize)
	}
	return text, stampOf(info), nil
}

// parse is Load for a file's bytes: it decodes, checks and fills in the defaults.
func parse(path string, text []byte, opts Options) (*Config, error) {
	c, d, err := decode(path, text)
	if err != nil {
		return nil, err
	}
	resolve(c, d, opts)
	validate(c, d, opts)
	setDefaults(c)
	validateSharedNix(c, d)
	d.Errors.ByLine()
	d.Warnings.ByLine()
	c.Warnings = d.Warnings
	return c, d.Errors.Err()
}

// decode reads text into a Config without defaults, $VAR and checks of meaning.
func decode(path string, text []byte) (*Config, *schema.Decoder, error) {
	text = bytes.TrimPrefix(text, []byte(byteOrderMark))
	var raw map[string]any
	if err := toml.Unmarshal(text, &raw); err != nil {
		return nil, nil, syntaxProblem(path, text, err)
	}
	doc, err := schema.Parse(text)
	if err != nil {
		return nil, nil, syntaxProblem(path, text, err)
	}
	d := &schema.Decoder{File: path, Doc: doc}
	c := &Config{Path: path, Concurrent: 1}
	d.Decode(raw, c)
	if err := d.Errors.Err(); err != nil {
		d.Errors.ByLine()
		return nil, nil, err
	}
	for i, r := range c.Runners {
		r.Index, r.Line, r.rawToken = i, doc.Line(schema.Element("runners", i)), r.Token
	}
	return c, d, nil
}

func syntaxProblem(path string, text []byte, err error) error {
	p := Problem{File: path, Message: strings.TrimPrefix(err.Error(), "toml: ")}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		p.Line, _ = e.Position()
		if p.Key = strings.Join(e.Key(), "."); p.Key == "" {
			p.Key = keyOn(text, p.Line)
		}
	}
	return Problems{p}
}

// keyOn is the key that a line of a broken file begins with; empty when it does not begin with one.
func keyOn(text []byte, line int) string {
	for n := 1; n < line; n++ {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	key, _, found := bytes.Cut(text, []byte("="))
	if key = bytes.TrimSpace(key); !found || len(key) == 0 || bytes.ContainsAny(key, " \t[]{}#,'\"") {
		return ""
	}
	return string(key)
}

// resolve expands $VAR and reads token files.
func resolve(c *Config, d *schema.Decoder, opts Options) {
	lookup := opts.Env
	if lookup == nil {
		lookup = os.LookupEnv
	}
	for _, r := range c.Runners {
		at := schema.Element("runners", r.Index)
		expand := func(key, value string) string {
			return os.Expand(value, func(name string) string {
				v, ok := lookup(name)
				if !ok {
					r.unset = append(r.unset, name)
					d.Warn(schema.Join(at, key), "uses $%s, which is not set in the runner's environment", name)
				}
				return v
			})
		}
		if r.Nix != nil && r.Nix.PushKeyFile != "" {
			r.Nix.PushKeyFile = c.absolute(r.Nix.PushKeyFile)
		}
		r.URL = expand("url", r.URL)
		r.Token = expand("token", r.Token)
		if r.TokenFile == "" {
			continue
		}
		if r.Token != "" {
			refuse(d, r, schema.Join(at, "token_file"), "cannot stand beside token: remove one of them")
			continue
		}
		text, err := os.ReadFile(c.absolute(r.TokenFile))
		if err != nil {
			refuse(d, r, schema.Join(at, "token_file"), "%v", err)
		}
		r.Token = strings.TrimSpace(string(text))
	}
}

// absolute is a path of the file; a relative one is meant from its directory.
func (c *Config) absolute(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Dir(), name)
}

// The defaults of GitLab Runner (common/consts.go, docs/configuration/advanced-configuration.md).
func setDefaults(c *Config) {
	positive(&c.CheckInterval, 3)
	positive(&c.ShutdownTimeout, 30)
	positive(&c.SessionServer.SessionTimeout, 1800)
	present(&c.ConnectionMaxAge, 15*time.Minute)
	for _, r := range c.Runners {
		positive(&r.OutputLimit, 4096)
		positive(&r.RequestConcurrency, 1)
		positive(&r.UnhealthyRequestsLimit, 3)
		present(&r.UnhealthyInterval, time.Hour)
		if k := r.Docker; k != nil {
			if k.WaitForServicesTimeout == 0 {
				k.WaitForServicesTimeout = 30
			}
			if len(k.PullPolicy) == 0 {
				k.PullPolicy = StringList{"always"}
			}
			k.nestedDefaults()
		}
		if r.Nix != nil {
			r.Nix.setDefaults()
		}
		if k := r.Kubernetes; k != nil {
			positive(&k.PollInterval, 3)
			positive(&k.PollTimeout, 180)
		}
	}
}

func positive(v *int, otherwise int) {
	if *v <= 0 {
		*v = otherwise
	}
}

func present[T any](v **T, otherwise T) {
	if *v == nil {
		*v = &otherwise
	}
}

// LoadTemplate reads the file of register's --template-config: exactly one [[runners]] entry,
// without defaults; a token in it is dropped.
func LoadTemplate(path string) (*Runner, []Problem, error) {
	text, _, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	c, d, err := decode(path, text)
	if err != nil {
		return nil, nil, err
	}
	if len(c.Runners) != 1 {
		return nil, nil, Problems{{File: path, Message: fmt.Sprintf("a template has exactly one [[runners]] entry, this one has %d", len(c.Runners))}}
	}
	r := c.Runners[0]
	r.Token, r.rawToken = "", ""
	d.Warnings.ByLine()
	return r, d.Warnings, nil
}
