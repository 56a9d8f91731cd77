package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseSize reads a size as Docker does: a number, which may have a fraction, and a unit of
// b, k, m, g, t or p in either case, optionally followed by b or ib; units are powers of 1024.
// Without a unit it is bytes.
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("must be a size such as \"512m\" or \"2g\", is %q", s)
	digits := strings.TrimRight(s, "bBiIkKmMgGtTpP ")
	unit := strings.ToLower(strings.TrimSpace(s[len(digits):]))
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) || strings.ContainsAny(digits, "xX_eE") {
		return 0, bad
	}
	if unit != "" && unit != "b" {
		power := strings.IndexByte("kmgtp", unit[0])
		if rest := unit[1:]; power < 0 || rest != "" && rest != "b" && rest != "ib" {
			return 0, bad
		}
		n *= math.Pow(1024, float64(power+1))
	}
	if n >= math.MaxInt64 {
		return 0, fmt.Errorf("the size %q is too large", s)
	}
	return int64(n), nil
}
