package nixwire

// The bounds of a handshake.
const (
	maxFeatures    = 64
	maxVersionText = 256
)

// Trust is what a daemon says of a client.
type Trust uint64

// The degrees of trust; daemons before 1.35 do not say.
const (
	TrustUnknown Trust = iota
	Trusted
	NotTrusted
)

// Hello is what a daemon says of itself when versions have been agreed on.
type Hello struct {
	Nix   string // the version of its program; empty before 1.33
	Trust Trust
}

// Greet begins a connection to a daemon and returns the version that it offers.
func Greet(r *Reader, w *Writer) (uint16, error) {
	w.Uint64(MagicClient)
	if err := w.Flush(); err != nil {
		return 0, err
	}
	magic, err := r.Uint64()
	if err != nil {
		return 0, unexpected(err)
	}
	if magic != MagicServer {
		return 0, malformed("%#x is not how a Nix daemon begins", magic)
	}
	return readVersion(r)
}

func readVersion(r *Reader) (uint16, error) {
	n, err := r.number()
	if err == nil && (n>>8 != 1 || n&0xff == 0) {
		err = malformed("%#x is not a version of the protocol that is known", n)
	}
	return uint16(n), err //nolint:gosec // 1.x, else there is an error
}

// Agree ends the handshake with a daemon: v is what is wanted, no newer than the daemon's offer, with the features that
// are wanted. It returns v with the features that the daemon has, too. What the daemon says at the start, messages until
// Last, is still to be read.
func Agree(r *Reader, w *Writer, v Version) (Version, Hello, error) {
	w.Uint64(uint64(v.Number))
	agreed := Version{Number: v.Number}
	if v.Minor() >= 38 {
		w.features(v.Features)
		if err := w.Flush(); err != nil {
			return v, Hello{}, err
		}
		has, err := readFeatures(r)
		if err != nil {
			return v, Hello{}, err
		}
		for _, f := range has {
			if v.Has(f) && !agreed.Has(f) {
				agreed.Features = append(agreed.Features, f)
			}
		}
	}
	w.Uint64(0) // no CPU affinity
	w.Uint64(0) // no space to be reserved
	if err := w.Flush(); err != nil {
		return agreed, Hello{}, err
	}
	var h Hello
	var err error
	if v.Minor() >= 33 {
		if h.Nix, err = r.String(maxVersionText); err != nil {
			return agreed, h, err
		}
	}
	if v.Minor() >= 35 {
		var n uint64
		if n, err = r.number(); err == nil && n > uint64(NotTrusted) {
			err = malformed("%d is no degree of trust", n)
		}
		h.Trust = Trust(n)
	}
	return agreed, h, err
}

func (w *Writer) features(list []string) {
	w.Uint64(uint64(len(list)))
	for _, f := range list {
		w.String(f)
	}
}

func readFeatures(r *Reader) ([]string, error) {
	n, err := r.number()
	if err == nil && n > maxFeatures {
		err = malformed("%d features", n)
	}
	var list []string
	for i := uint64(0); i < n && err == nil; i++ {
		var f string
		f, err = r.String(maxVersionText)
		list = append(list, f)
	}
	return list, err
}

// ReadGreeting reads the first word of a client.
func ReadGreeting(r *Reader) error {
	magic, err := r.Uint64()
	if err == nil && magic != MagicClient {
		err = malformed("%#x is not how a Nix client begins", magic)
	}
	return err
}

// Offer answers a client's greeting with the newest version that is spoken, and returns the version of both, with the
// features among the client's that this package knows.
func Offer(r *Reader, w *Writer, newest uint16) (Version, error) {
	w.Uint64(MagicServer)
	w.Uint64(uint64(newest))
	if err := w.Flush(); err != nil {
		return Version{}, err
	}
	n, err := readVersion(r)
	v := Version{Number: min(n, newest)}
	if err == nil && v.Minor() >= 38 {
		var list []string
		list, err = readFeatures(r)
		v.Features = KnownFeatures(list)
	}
	return v, err
}

// Welcome ends the handshake with a client that v has been agreed on with. Messages until Last or Failure must follow.
func Welcome(r *Reader, w *Writer, v Version, h Hello) error {
	if v.Minor() >= 38 {
		w.features(v.Features)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	affinity, err := r.number()
	if err == nil && affinity != 0 {
		_, err = r.number()
	}
	if err == nil && v.Minor() >= 11 {
		_, err = r.number() // space to be reserved
	}
	if err != nil {
		return err
	}
	if v.Minor() >= 33 {
		w.String(h.Nix)
	}
	if v.Minor() >= 35 {
		w.Uint64(uint64(h.Trust))
	}
	return nil
}
