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

// Budget is an amount of disk, of disk_budget, min_free or nested_disk: one of the two is not 0.
type Budget struct {
	Bytes   int64
	Percent float64 // of the file system, whoever occupies it
}

// ParseBudget reads a size as ParseSize does, or a share of a file system such as "80%".
func ParseBudget(s string) (Budget, error) { return parseShare(s, "50GB", "80%") }

// ParseFree reads what is to be kept free of a file system, in the forms of ParseBudget.
func ParseFree(s string) (Budget, error) { return parseShare(s, "20GB", "10%") }

// leastNestedDisk is what an engine needs for itself and a small image.
const leastNestedDisk = 16 << 20

// ParseNestedDisk reads what a job's engine may keep: a size, a share of what is free without it, or -1, which is any amount and the zero Budget.
func ParseNestedDisk(s string) (Budget, error) {
	if strings.TrimSpace(s) == "-1" {
		return Budget{}, nil
	}
	b, err := parseShare(s, "20GB", "50%")
	if err == nil && b.Percent == 0 && b.Bytes < leastNestedDisk {
		err = fmt.Errorf("must be \"16MB\" at least, which an engine and a small image take, or \"-1\" for any amount, is %q", s)
	}
	return b, err
}

func parseShare(s, size, share string) (Budget, error) {
	if number, ok := strings.CutSuffix(strings.TrimSpace(s), "%"); ok {
		p, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(p > 0 && p < 100) {
			return Budget{}, fmt.Errorf("must be a share of the file system between 0%% and 100%% such as %q, or a size such as %q, is %q", share, size, s)
		}
		return Budget{Percent: p}, nil
	}
	n, err := ParseSize(strings.TrimSpace(s))
	if err != nil || n == 0 {
		return Budget{}, fmt.Errorf("must be a size such as %q, or a share of the file system such as %q, is %q", size, share, s)
	}
	return Budget{Bytes: n}, nil
}
