package clamd

import (
	"embed"
	"strings"
)

//go:embed samples
var samples embed.FS

// Sample is a file that shows what the daemon says about it.
type Sample struct {
	Name    string
	Content []byte
	// Signature is what clamd finds, such as "Ringback.Test.Macro.UNOFFICIAL";
	// empty for a clean file.
	Signature string
}

// Samples returns a clean file and one for each signature. All are harmless
// text of our own, but for the EICAR test file, which is harmless too.
func Samples() []Sample {
	table := []Sample{
		{Name: "clean.txt"},
		{Name: "invoice.txt", Signature: "Ringback.Test.Invoice.UNOFFICIAL"},
		{Name: "macro.txt", Signature: "Ringback.Test.Macro.UNOFFICIAL"},
		{Name: "parcel.txt", Signature: "Ringback.Test.Parcel.UNOFFICIAL"},
	}
	for i := range table {
		table[i].Content = mustRead(table[i].Name)
	}
	return append(table, Sample{
		Name: "eicar.txt", Content: EICAR(), Signature: "Eicar-Test-Signature.UNOFFICIAL",
	})
}

// Clean returns a text in which the daemon finds nothing.
func Clean() []byte { return mustRead("clean.txt") }

// EICAR returns the 68 bytes of the EICAR test file, which every scanner takes
// for a virus where a file begins with them, and which do nothing.
//
// They are put together at run time, so that no scanner objects to the
// source or the program.
func EICAR() []byte {
	const template = `X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR STANDARD ANTIVIRUS TEST FILE!$H+H*`
	return []byte(strings.ReplaceAll(template, " ", "-"))
}

// mustRead panics for a file that the compiler did not embed.
func mustRead(name string) []byte {
	content, err := samples.ReadFile("samples/" + name)
	if err != nil {
		panic(err)
	}
	return content
}
