package job

import "context"

// The settings that hold sealed values, each sealed for a use of its own name.
const (
	// SettingSealCheck holds nothing, sealed with the key that sealed last.
	SettingSealCheck = "seal_check"
	// SettingLinkKey holds the key that signs links and tokens.
	SettingLinkKey = "link_key"
)

// Sealed is a sealed value as it is stored.
type Sealed struct {
	// Place says where it is, and what it is to people: "app shop: secret".
	Place string
	// Use is what it was sealed for.
	Use   string
	Value []byte
}

// Resealed is a value to put in the place of another one.
type Resealed struct {
	Place         string // as in Sealed
	Before, After []byte
}

// Seals finds the sealed values of a store, so that they can be sealed with another
// key. A store cannot open them.
type Seals interface {
	// Sealed returns the sealed values of up to limit rows, behind a cursor, which is
	// empty for the first; next is the cursor of what follows, empty for nothing.
	// Values of rows that are stored meanwhile may be missed.
	Sealed(ctx context.Context, cursor string, limit int) (values []Sealed, next string, err error)
	// Reseal replaces values in one transaction, each only where it still is Before,
	// and announces the apps and endpoints that are changed. It returns how many it
	// has replaced.
	Reseal(context.Context, []Resealed) (n int, err error)
	// SetSealKey stores SettingSealCheck, and in the same transaction the entry of the
	// audit log that another key seals from now on, of the given id.
	SetSealKey(ctx context.Context, check []byte, id string) error
}
