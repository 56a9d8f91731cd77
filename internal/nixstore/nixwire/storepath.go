package nixwire

import "strings"

// StoreDir is where the store is; a path elsewhere is none of a store that jobs may use.
const StoreDir = "/nix/store"

// The lengths of a store path's parts.
const (
	hashLen    = 32
	maxName    = 211
	MaxPathLen = len(StoreDir) + 1 + hashLen + 1 + maxName
)

// StorePath is a valid name of something in the store: StoreDir, a slash, 32 characters of Nix's base 32, a hyphen and a
// name of at most 211 characters. That it is there is not said.
type StorePath string

// ParseStorePath checks a path. Nothing that it lets pass can leave a directory when its Base is used as a file's name.
func ParseStorePath(s string) (StorePath, error) {
	if base, ok := strings.CutPrefix(s, StoreDir+"/"); ok && validBase(base) {
		return StorePath(s), nil
	}
	return "", malformed("%q is not a path in %s", short(s), StoreDir)
}

// FromBase is ParseStorePath for the last part of a path alone.
func FromBase(base string) (StorePath, error) { return ParseStorePath(StoreDir + "/" + base) }

// Base is the path without the store's directory.
func (p StorePath) Base() string { return string(p[len(StoreDir)+1:]) }

// IsDerivation reports whether the path is that of a derivation.
func (p StorePath) IsDerivation() bool { return strings.HasSuffix(string(p), ".drv") }

// DerivedPath parses what is to be built: PATH (as it is) or DRV!OUTPUTS. It returns the path and whether outputs of it
// are wanted.
func DerivedPath(s string) (StorePath, bool, error) {
	path, _, built := strings.Cut(s, "!")
	p, err := ParseStorePath(path)
	return p, built, err
}

func validBase(base string) bool {
	if len(base) < hashLen+2 || len(base) > hashLen+1+maxName || base[hashLen] != '-' {
		return false
	}
	for i := range hashLen {
		if c := base[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z' || c == 'e' || c == 'o' || c == 't' || c == 'u') {
			return false
		}
	}
	name := base[hashLen+1:]
	for i := range len(name) {
		c := name[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("+-._?=", rune(c)) {
			return false
		}
	}
	return name != "." && name != ".." && !strings.HasPrefix(name, ".-") && !strings.HasPrefix(name, "..-")
}

// short bounds what is quoted in a message.
func short(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
