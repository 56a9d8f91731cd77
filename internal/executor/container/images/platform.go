package images

import (
	"fmt"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parsePlatform reads "os/arch[/variant]" or "arch".
func parsePlatform(s string) (*ocispec.Platform, error) {
	if s == "" {
		return nil, nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	if len(parts) == 1 {
		parts = append([]string{"linux"}, parts...)
	}
	if len(parts) > 3 || slices.Contains(parts, "") {
		return nil, fmt.Errorf("platform %q is not of the form OS/ARCHITECTURE[/VARIANT]: write it like linux/arm64", s)
	}
	p := &ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}
