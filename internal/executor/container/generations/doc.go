// Package generations is what can be said without an engine of images that are offered to later jobs. Images of jobs' own engines are copied for later
// jobs of the same trust domain into volumes that are filled once and never written to again: generations. The name of one is that of its domain, a
// hyphen and the id of the environment whose job it is of (Split).
//
// Here is which generation the next job of a domain has (Records), what of an engine's images is copied, and whether all of it was (ReadList, Select,
// CheckLoaded), how much room that may take (WhileRoom), and when it is done (Offers). The executor asks the engines, and removes what nobody has.
package generations
