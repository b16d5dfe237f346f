import vagus
