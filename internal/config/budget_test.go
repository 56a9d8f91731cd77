package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/config"
)

func TestParseBudget(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Budget{
		"50GB": {Bytes: 50 << 30}, "512m": {Bytes: 512 << 20}, " 1.5g ": {Bytes: 3 << 29}, "1024": {Bytes: 1024},
		"80%": {Percent: 80}, " 12.5 % ": {Percent: 12.5}, "99.9%": {Percent: 99.9},
		// These are refused.
		"": {}, "0": {}, "0%": {}, "100%": {}, "-5%": {}, "%": {}, "NaN%": {}, "1e3": {}, "fifty": {}, "50 percent": {}, "-1": {},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got, err := config.ParseBudget(text)
			if (err != nil) != (want == config.Budget{}) {
				t.Errorf("ParseBudget(%q): %v", text, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
