package wire

// MaxID is the longest stage id or archive name in bytes.
const MaxID = 128

// ValidID reports whether s may be a stage id or an archive name: 1 to MaxID of a-z 0-9 _ . - and
// not "." or "..", so that it is a file name as it is.
func ValidID(s string) bool {
	if s == "" || len(s) > MaxID || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}
