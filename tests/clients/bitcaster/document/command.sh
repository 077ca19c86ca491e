bc import users employees.csv --org my-company --group developers
