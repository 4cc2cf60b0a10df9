package storetest

import "testing"

func checkModel(t *testing.T, fresh func(testing.TB) Harness) {}
