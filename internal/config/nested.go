package config

import (
	"gitlab.com/skerry/skerry/internal/config/schema"
)

func (k *Docker) nestedDefaults() {
	for _, s := range []struct {
		value     *string
		otherwise string
	}{
		{&k.Nested, NestedOff}, {&k.NestedFor, NestedForAll}, {&k.NestedImage, DefaultNestedImage},
	} {
		if *s.value == "" {
			*s.value = s.otherwise
		}
	}
}

// validateNested checks what jobs are given for containers of their own.
func (k *Docker) validateNested(no report, at string) {
	oneOf(no, schema.Join(at, "nested"), k.Nested, NestedOff, NestedPodman)
	oneOf(no, schema.Join(at, "nested_for"), k.NestedFor, NestedForAll, NestedForAsking)
	if k.Nested == NestedPodman && k.NetworkMode != "" {
		no(schema.Join(at, "network_mode"), "does not go with nested = %q, whose containers are reached on the job's own network: leave network_mode out", k.Nested)
	}
}
