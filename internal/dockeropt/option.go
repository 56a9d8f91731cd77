// Package dockeropt reads the values of [runners.docker] that have a syntax of their own, as Docker's command
// line and GitLab Runner read them. Its errors say what is wrong with a value and what one looks like; the
// caller names the key.
package dockeropt

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/docker/cli/opts"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// CPUs reads a number of processors such as "1.5" into billionths of one; 0 for an empty text.
func CPUs(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	r, ok := new(big.Rat), strings.Trim(s, "0123456789./") == "" && len(s) < 40 // an exponent could ask for a number of any length
	if ok {
		r, ok = r.SetString(s)
	}
	if ok {
		r.Mul(r, big.NewRat(1e9, 1))
	}
	if !ok || r.Sign() < 0 || !r.IsInt() || !r.Num().IsInt64() {
		return 0, fmt.Errorf("must be a number of processors such as \"1.5\", is %q", s)
	}
	return r.Num().Int64(), nil
}

// Device reads "HOST[:CONTAINER[:rwm]]".
func Device(s string) (container.DeviceMapping, error) {
	parts := strings.Split(s, ":")
	d := container.DeviceMapping{PathOnHost: parts[0], PathInContainer: parts[0], CgroupPermissions: "rwm"}
	if len(parts) > 1 && parts[1] != "" {
		d.PathInContainer = parts[1]
	}
	if len(parts) > 2 {
		d.CgroupPermissions = parts[2]
	}
	if len(parts) > 3 || parts[0] == "" || d.CgroupPermissions == "" || strings.Trim(d.CgroupPermissions, "rwm") != "" {
		return d, fmt.Errorf("must be a device such as \"/dev/kvm\" or \"/dev/kvm:/dev/kvm:rwm\", is %q", s)
	}
	return d, nil
}

// Devices reads a list of devices.
func Devices(list []string) ([]container.DeviceMapping, error) {
	var out []container.DeviceMapping
	for _, s := range list {
		d, err := Device(s)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// DevicesFor collects the devices of every pattern that matches an image's name, in the patterns' order.
func DevicesFor(image string, patterns map[string][]string) ([]string, error) {
	var out []string
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
		ok, err := doublestar.Match(pattern, image)
		if err != nil {
			return nil, fmt.Errorf("the pattern %q for names of images is not valid: %w", pattern, err)
		}
		if ok {
			out = append(out, patterns[pattern]...)
		}
	}
	return out, nil
}

// Pattern checks a pattern for names of images; "!" before it excludes what it matches.
func Pattern(s string) error {
	if p := strings.TrimPrefix(s, "!"); p == "" || !doublestar.ValidatePattern(p) {
		return fmt.Errorf("must be a pattern for names of images such as \"registry.example.com/group/*:*\", with brackets and braces closed, is %q", s)
	}
	return nil
}

// rule is that of a device control group.
var rule = regexp.MustCompile(`^[acb] ([0-9]+|\*):([0-9]+|\*) [rwm]{1,3}$`)

// DeviceRule checks a rule of the device control group.
func DeviceRule(s string) error {
	if !rule.MatchString(s) {
		return fmt.Errorf("must be a rule such as \"c 189:* rmw\" (a, b or c; numbers; permissions), is %q", s)
	}
	return nil
}

// GPUs reads what `docker run --gpus` takes; nil for an empty text.
func GPUs(s string) ([]container.DeviceRequest, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var o opts.GpuOpts
	if err := o.Set(s); err != nil {
		return nil, fmt.Errorf("must be \"all\", a number or \"device=...\" as for docker run --gpus, is %q: %w", s, err)
	}
	for _, r := range o.Value() {
		if r.Count == 0 && strings.Join(r.DeviceIDs, "") == "" {
			return nil, fmt.Errorf("asks for no GPU: remove it, or write \"all\", a number or \"device=...\", is %q", s)
		}
	}
	return o.Value(), nil
}

// Ulimits reads limits by their names, each "SOFT[:HARD]", -1 for none.
func Ulimits(all map[string]string) ([]*container.Ulimit, error) {
	var out []*container.Ulimit
	for _, name := range slices.Sorted(maps.Keys(all)) {
		u, err := units.ParseUlimit(name + "=" + all[name])
		if err != nil {
			return nil, fmt.Errorf("must be SOFT or SOFT:HARD such as \"1024:2048\", %s is %q: %w", name, all[name], err)
		}
		out = append(out, u)
	}
	return out, nil
}

// LogOptions checks the options of the engine's log files. Source: gitlab-runner common/config.go, GetLogConfig.
func LogOptions(all map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if k != "env" && k != "labels" {
			return fmt.Errorf("may hold only \"env\" and \"labels\", has %q", k)
		}
	}
	return nil
}

// Isolation checks that a value means what Linux has.
func Isolation(s string) error {
	if s != "" && s != "default" {
		return fmt.Errorf("%q is for Windows: remove it", s)
	}
	return nil
}

// Security finds in security_opt what it says of a thing, such as "seccomp" or "apparmor": "THING=VALUE", or "THING:VALUE" as Docker
// took it once. Of more than one the last counts.
func Security(list []string, thing string) (value string, found bool) {
	for _, s := range list {
		if rest, ok := strings.CutPrefix(s, thing); ok && (strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, ":")) {
			value, found = rest[1:], true
		}
	}
	return value, found
}
