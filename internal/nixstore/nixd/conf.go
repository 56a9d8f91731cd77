package nixd

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// Sandbox says what is asked of Nix's sandbox.
type Sandbox string

// The values of Sandbox.
const (
	SandboxAuto     Sandbox = "auto"     // on where a trial build proves it, else off, which Info says; also ""
	SandboxRequired Sandbox = "required" // on, or the daemon refuses to serve
	SandboxOff      Sandbox = "off"
)

// Config is what a domain's daemon and its seeding are told. It holds no secrets.
type Config struct {
	// Image identifies the image of this container, for the name of its pin: letters, digits, "._:-". Required.
	Image string `json:"image"`
	// Substituters replace Nix's own list; null keeps it, [] means none.
	Substituters []string `json:"substituters"`
	// PublicKeys, NAME:BASE64, replace Nix's own list; null keeps it, [] means none.
	PublicKeys []string `json:"publicKeys"`
	MaxJobs    int      `json:"maxJobs,omitempty"` // builds at once; 0: as many as processors
	Cores      int      `json:"cores,omitempty"`   // of each build; 0: all
	Sandbox    Sandbox  `json:"sandbox,omitempty"`
	// Proved is Info.Fingerprint of another daemon of the same engine whose sandbox is on: what is the same there
	// needs no trial build here.
	Proved string `json:"proved,omitempty"`
	// Lines are added to nix.conf: "name = value". What decides about trust, the sandbox, roots or programs that run
	// outside of it is refused.
	Lines []string `json:"lines,omitempty"`
}

// The program is started for every job, which must not wait for patterns that it does not need.
func imageName() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`) }
func settingLine() *regexp.Regexp {
	return regexp.MustCompile(`^([a-z0-9-]+)[ \t]*=[ \t]*(.*)$`)
}

// Validate says what is wrong, joined.
func (c Config) Validate() error {
	var errs []error
	if !imageName().MatchString(c.Image) {
		errs = append(errs, fmt.Errorf("image: %q does not volumes.Identify an image", c.Image))
	}
	switch c.Sandbox {
	case "", SandboxAuto, SandboxRequired, SandboxOff:
	default:
		errs = append(errs, fmt.Errorf("sandbox: %q is none of auto, required, off", c.Sandbox))
	}
	if c.MaxJobs < 0 || c.Cores < 0 {
		errs = append(errs, errors.New("maxJobs, cores: less than none"))
	}
	for _, s := range c.Substituters {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == '#' || unicode.IsSpace(r) || unicode.IsControl(r) }) {
			errs = append(errs, fmt.Errorf("substituters: %q is no address of a binary cache", s))
		}
	}
	for _, k := range c.PublicKeys {
		name, key, ok := strings.Cut(k, ":")
		if raw, err := base64.StdEncoding.DecodeString(key); !ok || name == "" || strings.ContainsFunc(name, unicode.IsSpace) || err != nil || len(raw) != 32 {
			errs = append(errs, fmt.Errorf("publicKeys: %q is no key of the form NAME:BASE64, as nix-store --generate-binary-cache-key writes it", k))
		}
	}
	for _, line := range c.Lines {
		errs = append(errs, validLine(line))
	}
	return errors.Join(errs...)
}

// ours are the settings that lines may not have, with whose business they are.
var ours = map[string]string{ //nolint:gochecknoglobals // a table
	"trusted-users": "nobody is trusted by this daemon", "allowed-users": "who reaches the socket is decided by its gateway",
	"build-users-group": "it comes with the container", "auto-allocate-uids": "the container has no ids for it", "use-cgroups": "it needs more rights than the container has",
	"filter-syscalls": "it keeps builds from making setuid files", "allow-new-privileges": "it lets builds become root",
	"require-sigs": "it lets jobs add anything under any name", "secret-key-files": "secrets do not belong in this container",
	"builders": "there are none", "build-hook": "it runs outside of the sandbox", "post-build-hook": "it runs outside of the sandbox",
	"pre-build-hook": "it runs outside of the sandbox", "diff-hook": "it runs outside of the sandbox", "run-diff-hook": "it runs outside of the sandbox",
	"allowed-impure-host-deps": "it opens the sandbox", "plugin-files": "it runs outside of the sandbox", "include": "it reads other files", "store": "it is this one",
	"min-free": "the runner collects garbage", "max-free": "the runner collects garbage", "keep-outputs": "the runner decides what is kept",
	"keep-derivations": "the runner decides what is kept", "auto-optimise-store": "it is off",
	"gc-keep-outputs": "the runner decides what is kept", "gc-keep-derivations": "the runner decides what is kept",
	"substituters": "use the setting for it", "binary-caches": "use the setting for it", "trusted-public-keys": "use the setting for it", "binary-cache-public-keys": "use the setting for it",
	"max-jobs": "use the setting for it", "build-max-jobs": "use the setting for it", "cores": "use the setting for it", "build-cores": "use the setting for it",
	"build-use-chroot": "use the setting sandbox", "build-use-sandbox": "use the setting sandbox", "build-chroot-dirs": "use the setting sandbox",
	"build-sandbox-paths": "use the setting sandbox",
}

func validLine(line string) error {
	m := settingLine().FindStringSubmatch(line)
	if m == nil || strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return fmt.Errorf("lines: %q is no line of the form NAME = VALUE", line)
	}
	name := strings.TrimPrefix(m[1], "extra-")
	if strings.HasPrefix(name, "sandbox") {
		return fmt.Errorf("lines: %s cannot be set: use the setting sandbox", m[1])
	}
	if why, ok := ours[name]; ok {
		return fmt.Errorf("lines: %s cannot be set: %s", m[1], why)
	}
	return nil
}

func parseConfig(raw string) (Config, error) {
	var c Config
	if raw == "" {
		return c, fmt.Errorf("the environment variable %s is not set: this program is started by skerry", Variable)
	}
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		return c, fmt.Errorf("read %s: %w", Variable, err)
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("%s: %w", Variable, err)
	}
	return c, nil
}

// maxLog is how many bytes of output a build may have, all of which are kept on the volume, unless a line says otherwise.
const maxLog = 256 << 20

// nixConf is the daemon's nix.conf. With sandbox it is on, and nothing is built without. Later lines win in Nix, so the
// user's come first. Trust and roots: see the package's comment; keep-derivations is off because collect deletes
// what it has found by references alone.
func (c Config) nixConf(sandbox bool, group string) []byte {
	var b strings.Builder
	b.WriteString("# Written by skerry at every start.\n")
	set := func(name, value string) { b.WriteString(strings.TrimRight(name+" = "+value, " ") + "\n") }
	set("max-build-log-size", strconv.Itoa(maxLog))
	for _, line := range c.Lines {
		if m := settingLine().FindStringSubmatch(line); m != nil {
			set(m[1], m[2]) // Nix wants spaces around the sign
		}
	}
	set("trusted-users", "")
	set("allowed-users", "*")
	set("build-users-group", group)
	set("sandbox", strconv.FormatBool(sandbox))
	set("sandbox-fallback", "false")
	set("require-sigs", "true")
	set("builders", "")
	set("auto-optimise-store", "false")
	set("keep-derivations", "false")
	set("keep-outputs", "false")
	set("min-free", "0")
	set("extra-experimental-features", "nix-command flakes")
	if c.Substituters != nil {
		set("substituters", strings.Join(c.Substituters, " "))
	}
	if c.PublicKeys != nil {
		set("trusted-public-keys", strings.Join(c.PublicKeys, " "))
	}
	jobs := "auto"
	if c.MaxJobs > 0 {
		jobs = strconv.Itoa(c.MaxJobs)
	}
	set("max-jobs", jobs)
	set("cores", strconv.Itoa(c.Cores))
	return []byte(b.String())
}

// writeConf writes nix.conf. Where the image's directory is a link into the store, it becomes a directory.
func (c Config) writeConf(l volumes.Layout, sandbox bool, group string) error {
	dir := l.Etc() + "/nix"
	if i, err := os.Lstat(dir); err == nil && !i.IsDir() {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return volumes.Write(dir+"/nix.conf", 0o644, c.nixConf(sandbox, group))
}
